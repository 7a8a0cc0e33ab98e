"""Every way to the bytes of a frozen disk of a Xen pool, and the way back.

Read `choose.py` (which way), then `opening.py` (the reader), and `upload.py` for restores. Imports `adapters.errors`,
`adapters.port`, `adapters.secret`, `adapters.nbd` and this package only.
"""

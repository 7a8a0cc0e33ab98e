"""Every way to the bytes of a frozen disk, behind one reader.

Read `choose.py` (which way), then `opening.py` (the reader). Imports `adapters.errors`, `adapters.port`,
`adapters.secret`, `adapters.nbd` and this package only.
"""

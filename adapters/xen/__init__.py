"""XenServer and XCP-ng pools as backup sources: XenAPI for control, NBD over TLS for data.

Start with `source.py`, then `freezing.py` and `snapshot.py`. Imports `adapters.errors`, `adapters.port`,
`adapters.secret`, the plumbing that adapters share, and this package.
"""

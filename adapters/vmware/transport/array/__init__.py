"""Snapshots that a storage array takes: the machine's own snapshot lives for seconds instead of for the whole backup.

Start with `port.py` (what an array must do), then `flow.py`. Imports `adapters.errors`, `adapters.secret` and
`adapters.vmware.transport` only.
"""

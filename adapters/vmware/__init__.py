"""VMware vSphere: snapshots and changed block tracking through vCenter or ESXi, the bytes by one of many transports.

Start with `source.py`, then `snapshot.py`. Imports `adapters.errors`, `adapters.port`, `adapters.secret` and
`adapters.nbd`.
"""

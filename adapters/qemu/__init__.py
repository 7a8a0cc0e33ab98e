"""QEMU and KVM over QMP: dirty bitmaps tell what changed, an NBD export of a frozen view gives the bytes.

Start with `source.py`, then `snapshot.py`. Imports `adapters.errors`, `adapters.port` and `adapters.nbd`.
"""

"""VHDX and VHD files, read and written by their specifications, whoever keeps them. Shared by the adapters.

Start with `chain.py`. Imports `adapters.errors`, `adapters.port` and its own modules. Files are only read, a log that
was not replayed is applied in memory, and whatever a file says is checked before it is used. What no checksum covers,
the block tables above all, can be wrong without being senseless: then the bytes are wrong too.
"""

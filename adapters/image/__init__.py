"""The `image` source: disk images in a folder, and block devices behind symlinks.

Start with `source.py`. Imports `adapters.errors`, `adapters.port`, `adapters.nbd` and `adapters.virtualdisk` only. It
serves array snapshots, LUNs and powered-off machines; changes are found by comparison, and an image must not change
while it is read.
"""

from adapters.image.source import ImageSource

__all__ = ["ImageSource"]

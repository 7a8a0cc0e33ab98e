"""Opens one file of a chain, of whichever format it is. Imports `adapters.errors` and its own package only."""

from __future__ import annotations

from adapters.errors import SourceInvalid
from adapters.virtualdisk.blocks import Layer
from adapters.virtualdisk.file import RandomFile, read_bytes
from adapters.virtualdisk.vhd import open_vhd
from adapters.virtualdisk.vhdfooter import COOKIE, SECTOR
from adapters.virtualdisk.vhdx import open_vhdx
from adapters.virtualdisk.vhdxheaders import IDENTIFIER


def open_layer(path: str, file: RandomFile) -> Layer:
    """Open a file by what it holds. Raises SourceInvalid when that is neither format, SourceCorrupt for nonsense."""
    start = read_bytes(file, 0, min(SECTOR, file.size_bytes))
    if start.startswith(IDENTIFIER):
        return open_vhdx(path, file)
    end = read_bytes(file, max(0, file.size_bytes - SECTOR), min(SECTOR, file.size_bytes))
    if start.startswith(COOKIE) or end.startswith(COOKIE):
        return open_vhd(path, file)
    raise SourceInvalid(
        f"{path} is neither a VHDX nor a VHD",
        code="vdisk-format",
        why="its content has the mark of neither format",
        hint="Give the path of the virtual disk's file.",
    )

"""A virtual disk as its guest sees it: a file and the parents that it builds on."""

from __future__ import annotations

from collections.abc import Iterator

from adapters.port import Extent
from adapters.virtualdisk.file import OpenFile
from adapters.virtualdisk.locator import Locate


class VirtualDisk:
    """The disk in an open chain of files. Safe to use from several threads.

    `identity` is the VHDX's virtual disk id or the VHD's unique id, lower-case with dashes; `format` is `vhdx` or `vhd`.
    """

    size_bytes: int
    identity: str
    format: str
    logical_sector_bytes: int
    path: str

    def extents(self) -> Iterator[Extent]:
        """Yield the whole disk in order, gapless, neighbours of a kind merged; zero extents need not be read."""
        raise NotImplementedError

    def pread_into(self, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` from `offset`, wholly or not at all (then an AdapterError)."""
        raise NotImplementedError

    def close(self) -> None:
        """Close the files; twice is harmless."""
        raise NotImplementedError


def open_disk(path: str, open_file: OpenFile, locate: Locate) -> VirtualDisk:
    """Open a VHDX or VHD and its parents. Raises AdapterErrors; what was opened is closed then."""
    raise NotImplementedError

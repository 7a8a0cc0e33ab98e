"""One virtual disk, a chain of files on SMB shares, as the port's `BlockReader`.

Imports `adapters.port`, `adapters.virtualdisk` and this package.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from adapters.hyperv.smb.files import SmbFiles
from adapters.hyperv.smb.parents import ParentsWithin
from adapters.port import Extent
from adapters.virtualdisk.chain import VirtualDisk, open_disk


class SmbDiskReader:
    """Random reads of a disk. Safe to use from several threads; closing it closes its files, not the sessions."""

    transport = "smb"

    def __init__(self, disk: VirtualDisk) -> None:
        self.disk = disk
        self.size_bytes = disk.size_bytes

    def extents(self) -> Iterator[Extent]:
        """Yield the whole disk in order, gapless; what no file of the chain has is zero."""
        return self.disk.extents()

    def pread_into(self, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` from `offset`. Raises what the files and the disk's reader do."""
        self.disk.pread_into(offset, buffer)

    def close(self) -> None:
        """Close the files; twice is harmless."""
        self.disk.close()


def open_disk_reader(files: SmbFiles, unc: str, folders: Sequence[str], share: str | None) -> SmbDiskReader:
    """Open the disk at `unc`, whose parents may be in `folders` (UNC); `share` is as in the settings."""
    return SmbDiskReader(open_disk(unc, files.open, ParentsWithin(folders, share, files.exists)))

"""A disk of a restore point as a source takes it back. Imports `adapters.port` and `ingest.pointdisk`.

Whoever writes it elsewhere is asked at each read whether to go on: Interrupted comes out of the read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from adapters.port import Extent
from ingest.pointdisk import PointDisk
from ingest.signals import go_on


class PointImage:
    """The `DiskImage` of the port over resolved and verified chunks; safe to use from several threads."""

    def __init__(self, disk: PointDisk, stop: Callable[[], bool]) -> None:
        self._disk = disk
        self._stop = stop
        self.size_bytes = disk.size_bytes

    def extents(self) -> Iterator[Extent]:
        """Yield the whole disk in order, gapless; what is said to be zero need not be read."""
        for start, length, zero in self._disk.extents(0, self.size_bytes):
            go_on(self._stop)
            yield Extent(start, length, zero)

    def pread_into(self, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` from `offset`, every byte verified. Raises Invalid behind the end, Corrupt, NotFound."""
        go_on(self._stop)
        buffer[:] = self._disk.pread(offset, len(buffer))

"""Reading a frozen disk over NBD, and what of it changed since the base.

Imports `adapters.errors`, `adapters.port`, `adapters.nbd` and this package's guard.

A range is called zero only when two sweeps agree. One is not enough: between QEMU's look at the overlay and
its look at the disk below, the guest may discard a block whose old data has just been saved, and the answer
would be the hole. The second sweep then finds the saved data.
"""

from __future__ import annotations

from collections.abc import Iterator

from adapters.errors import AdapterError
from adapters.nbd import BASE_ALLOCATION, NbdClient, NbdReader
from adapters.nbd.reader import zero_extents
from adapters.port import Extent
from adapters.qemu.guard import ScratchGuard
from adapters.qemu.overlaps import merged, overlaps

WINDOW_BYTES = 256 << 20
_DIRTY = 1


def dirty_ranges(client: NbdClient, context: str) -> Iterator[Extent]:
    """Yield what a bitmap context calls dirty, in order. It comes called zero, so that the sweeps have the last word.

    Let the client ask for no other context: QEMU would walk the disk's allocation with every answer.
    """
    for status in client.block_status(context):
        if status.flags & _DIRTY:
            yield Extent(status.start, status.length, zero=True)


class FrozenReader:
    """A BlockReader of the frozen view. Once the guard dropped the view, its reason is what a reader raises."""

    def __init__(self, client: NbdClient, guard: ScratchGuard) -> None:
        self._client = client
        self._reader = NbdReader(client)
        self._guard = guard
        self.size_bytes = client.size_bytes
        self.transport = self._reader.transport

    def extents(self) -> Iterator[Extent]:
        """Yield the whole disk in order, gapless; zero only where it surely is."""
        return self._guarded(merged(self._sure(0, self.size_bytes)))

    def changes(self, dirty: Iterator[Extent]) -> Iterator[Extent]:
        """Yield dirty ranges in order, split into zero and data."""
        return self._guarded(merged(self._split(dirty)))

    def pread_into(self, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` from `offset`."""
        try:
            self._reader.pread_into(offset, buffer)
        except AdapterError:
            self._guard.check()
            raise

    def close(self) -> None:
        """Release the connection; closing twice is harmless."""
        self._reader.close()

    def _split(self, ranges: Iterator[Extent]) -> Iterator[Extent]:
        near: list[Extent] = []
        for found in ranges:
            if near and found.end - near[0].start > WINDOW_BYTES:
                yield from overlaps(near, self._sure(near[0].start, near[-1].end))
                near = []
            near.append(found)
        if near:
            yield from overlaps(near, self._sure(near[0].start, near[-1].end))

    def _sure(self, start: int, end: int) -> Iterator[Extent]:
        while start < end:
            length = min(WINDOW_BYTES, end - start)
            first = list(zero_extents(self._client.block_status(BASE_ALLOCATION, start, length)))
            yield from overlaps(first, zero_extents(self._client.block_status(BASE_ALLOCATION, start, length)))
            start += length

    def _guarded(self, extents: Iterator[Extent]) -> Iterator[Extent]:
        try:
            yield from extents
        except AdapterError:
            self._guard.check()
            raise

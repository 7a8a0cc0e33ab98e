"""What the server knows to be unallocated of a frozen disk, on the connection that all its readers share.

Imports `adapters.areas`, `adapters.port` and `adapters.sharing`. What is unallocated reads as zeros and is not read,
but a server that says so is put to the test: where a sample of it holds data, its answer is dropped and all is read.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator

from adapters.areas import Area, AreaList
from adapters.port import BlockReader, Extent
from adapters.sharing import SharedReader

_SAMPLES = 24
_SAMPLE_BYTES = 65536


class AllocatedReader(SharedReader):
    """A shared reader of a disk whose areas with data are `allocated`, or unknown; that is asked when needed."""

    def __init__(
        self,
        opener: Callable[[], BlockReader],
        allocated: Callable[[], AreaList | None],
        *,
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        super().__init__(opener)
        self._allocated = allocated
        self._random_bytes = random_bytes
        self._asking = threading.Lock()
        self._map: AreaList | None = None
        self._mapped = False

    def extents(self, reader: BlockReader) -> Iterator[Extent]:
        """The whole disk; what the transport or the server knows to be zero says so."""
        areas = self._checked(reader)
        return reader.extents() if areas is None else with_zeros(reader.extents(), areas)

    def _checked(self, reader: BlockReader) -> AreaList | None:
        """The areas that hold data, if the server tells and a sample of the rest is empty."""
        with self._asking:
            if not self._mapped:
                found = self._allocated()
                self._map = found if found is not None and self._holds(found, reader) else None
                self._mapped = True
            return self._map

    def _holds(self, areas: AreaList, reader: BlockReader) -> bool:
        """Whether nothing is found in a sample of what the areas leave out."""
        total = reader.size_bytes - areas.covered_bytes
        if total <= 0:
            return True
        samples = sorted(int.from_bytes(self._random_bytes(8), "big") % total for _ in range(_SAMPLES))
        buffer = memoryview(bytearray(_SAMPLE_BYTES))
        behind = 0
        for start, length in gaps_of(areas, reader.size_bytes):
            while samples and samples[0] < behind + length:
                offset = start + (samples.pop(0) - behind) // 512 * 512
                piece = buffer[: min(_SAMPLE_BYTES, start + length - offset)]
                reader.pread_into(offset, piece)
                if any(piece):
                    return False
            behind += length
        return True


def gaps_of(areas: Iterable[Area], size_bytes: int) -> Iterator[Area]:
    """What areas leave out of a disk."""
    position = 0
    for start, length in areas:
        if start > position:
            yield position, start - position
        position = start + length
    if position < size_bytes:
        yield position, size_bytes - position


def with_zeros(extents: Iterable[Extent], allocated: Iterable[Area]) -> Iterator[Extent]:
    """Mark as zero whatever is not allocated; neighbours of one kind are one extent."""
    areas = iter(allocated)
    area = next(areas, None)
    pending: Extent | None = None
    for extent in extents:
        position = extent.start
        while position < extent.end:
            while area is not None and area[0] + area[1] <= position:
                area = next(areas, None)
            inside = area is not None and area[0] <= position
            edge = extent.end if area is None else area[0] + area[1] if inside else area[0]
            piece = Extent(position, min(edge, extent.end) - position, extent.zero or not inside)
            if pending is not None and pending.zero == piece.zero:
                pending = Extent(pending.start, pending.length + piece.length, piece.zero)
            else:
                if pending is not None:
                    yield pending
                pending = piece
            position = piece.end
    if pending is not None:
        yield pending

"""Readers of one frozen disk: one connection for all of them, and what the server knows to be unallocated.

Imports `adapters.areas`, `adapters.errors` and `adapters.port`. What is unallocated reads as zeros and is not read, but
a server that says so is put to the test: where a sample of it holds data, the whole answer is dropped and all is read.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator

from adapters.areas import Area, AreaList, cut
from adapters.errors import SourceUnavailable
from adapters.port import BlockReader, Extent

_SAMPLES = 24
_SAMPLE_BYTES = 65536


class SharedReader:
    """Opens `opener` once however many readers there are, and closes it with the last of them.

    `allocated` returns the areas that hold data, None when the server does not tell; it is asked when needed.
    """

    def __init__(
        self,
        opener: Callable[[], BlockReader],
        allocated: Callable[[], AreaList | None],
        *,
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._opener = opener
        self._allocated = allocated
        self._random_bytes = random_bytes
        self._lock = threading.RLock()
        self._inner: BlockReader | None = None
        self._users = 0
        self._over = False
        self._map: AreaList | None = None
        self._mapped = False

    def open(self) -> SharedHandle:
        """Return a reader of its own. Raises SourceUnavailable after `shut`, and what opening meets."""
        with self._lock:
            if self._over:
                raise _closed()
            if self._inner is None:
                self._inner = self._opener()
            self._users += 1
            return SharedHandle(self, self._inner)

    def leave(self) -> None:
        """One reader less."""
        with self._lock:
            self._users -= 1
            if self._users == 0:
                self._close()

    def shut(self) -> None:
        """Close the connection whoever still reads."""
        with self._lock:
            self._over = True
            self._close()

    @property
    def over(self) -> bool:
        """Whether `shut` was called."""
        return self._over

    def allocated(self, reader: BlockReader) -> AreaList | None:
        """The areas that hold data, if the server tells and a sample of the rest is empty."""
        with self._lock:
            if not self._mapped:
                found = self._allocated()
                self._map = found if found is not None and self._holds(found, reader) else None
                self._mapped = True
            return self._map

    def _close(self) -> None:
        inner, self._inner = self._inner, None
        if inner is not None:
            inner.close()

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


class SharedHandle:
    """A BlockReader on a connection that others may use, too."""

    def __init__(self, shared: SharedReader, inner: BlockReader) -> None:
        self.size_bytes = inner.size_bytes
        self.transport = inner.transport
        self._shared = shared
        self._inner = inner
        self._closed = False
        self._lock = threading.Lock()

    def extents(self) -> Iterator[Extent]:
        """Yield the whole disk; what the transport or the server knows to be zero says so."""
        self._require_open()
        areas = self._shared.allocated(self._inner)
        yield from self._inner.extents() if areas is None else with_zeros(self._inner.extents(), areas)

    def changes(self, changed: Iterable[Area]) -> Iterator[Extent]:
        """Yield `changed`, split into what is zero now and what is to be read."""
        areas = iter(changed)
        first = next(areas, None)
        if first is None:
            return
        spans = _chain(first, areas)
        yield from cut(spans, self.extents())

    def pread_into(self, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` from `offset`. Raises SourceUnavailable once this reader or the snapshot is closed."""
        self._require_open()
        self._inner.pread_into(offset, buffer)

    def close(self) -> None:
        """Leave the connection to the others; closing twice is harmless."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._shared.leave()

    def _require_open(self) -> None:
        if self._closed or self._shared.over:
            raise _closed()


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


def _chain(first: Area, rest: Iterator[Area]) -> Iterator[Area]:
    yield first
    yield from rest


def _closed() -> SourceUnavailable:
    return SourceUnavailable("The reader was closed", code="reader-closed")

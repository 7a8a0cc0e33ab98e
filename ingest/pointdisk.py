"""A disk of a restore point as random-access bytes, resolved and read as they are asked for.

Imports `catalog.resolve` and `storage`. Every byte returned was decrypted and re-hashed; recently read
chunks are kept, because readers ask for less than a chunk at a time.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from uuid import UUID

from catalog.domain.facts import DiskPoint
from catalog.resolve.blockmap import BlockMap
from catalog.resolve.resolver import Resolver
from storage.chunks.store import ChunkStore
from storage.errors import HoldfastError

CACHED_BYTES = 64 * 1024 * 1024
CACHED_WINDOWS = 4
WINDOW_BLOCKS = 1 << 18


class PointDisk:
    """Read-only view of one disk at one point; safe to use from several threads."""

    def __init__(self, resolver: Resolver, store: ChunkStore, point: DiskPoint) -> None:
        self._resolver = resolver
        self._store = store
        self._point = point
        self._lock = threading.Lock()
        self._windows: OrderedDict[int, BlockMap] = OrderedDict()
        self._chunks: OrderedDict[int, bytes] = OrderedDict()
        self._cached_chunks = max(4, CACHED_BYTES // point.chunk_bytes)
        self._failure: HoldfastError | None = None
        self.served_bytes = 0

    @property
    def disk_id(self) -> UUID:
        """Which disk this is."""
        return self._point.disk_id

    @property
    def size_bytes(self) -> int:
        """The size of the disk at this point."""
        return self._point.size_bytes

    def raise_failure(self) -> None:
        """Raise the first error a read met: whoever reads over NBD only sees that the read failed."""
        if self._failure is not None:
            raise self._failure

    def pread(self, offset: int, length: int) -> bytes:
        """Return exactly `length` bytes, which must lie inside the disk."""
        try:
            data = self._pread(offset, length)
        except HoldfastError as error:
            self._failure = self._failure or error
            raise
        with self._lock:
            self.served_bytes += length
        return data

    def _pread(self, offset: int, length: int) -> bytes:
        chunk_bytes = self._point.chunk_bytes
        pieces = []
        at, end = offset, offset + length
        while at < end:
            block = at // chunk_bytes
            start = at - block * chunk_bytes
            take = min(end - at, chunk_bytes - start)
            chunk = self._chunk(block)
            pieces.append(bytes(take) if chunk is None else chunk[start : start + take])
            at += take
        return b"".join(pieces)

    def extents(self, start: int, length: int) -> Iterator[tuple[int, int, bool]]:
        """Yield (start, length, zero) over the range, in order and gapless."""
        chunk_bytes = self._point.chunk_bytes
        at, end = start, start + length
        while at < end:
            block = at // chunk_bytes
            window = self._window(block)
            until = min(window.end_block, -(-end // chunk_bytes))
            for first, count, held in window.part(block, until - block).runs():
                stop = min((first + count) * chunk_bytes, end)
                yield at, stop - at, not held
                at = stop

    def _chunk(self, block: int) -> bytes | None:
        window = self._window(block)
        at = block - window.first_block
        if not window.stored[at]:
            return None
        with self._lock:
            if block in self._chunks:
                self._chunks.move_to_end(block)
                return self._chunks[block]
        if window.digests is None:
            raise AssertionError("windows are resolved with digests")
        chunk = self._store.read_chunk(
            window.digests[at].tobytes(),
            window.packs.ids[int(window.pack_index[at])],
            int(window.offsets[at]),
            int(window.stored[at]),
        )
        with self._lock:
            self._chunks[block] = chunk
            while len(self._chunks) > self._cached_chunks:
                self._chunks.popitem(last=False)
        return chunk

    def _window(self, block: int) -> BlockMap:
        first = block - block % WINDOW_BLOCKS
        with self._lock:
            if first in self._windows:
                self._windows.move_to_end(first)
                return self._windows[first]
            blocks = -(-self._point.size_bytes // self._point.chunk_bytes)
            window = self._resolver.map(
                self._point.disk_id, self._point.seq, first, min(WINDOW_BLOCKS, blocks - first), digests=True
            )
            self._windows[first] = window
            while len(self._windows) > CACHED_WINDOWS:
                self._windows.popitem(last=False)
            return window

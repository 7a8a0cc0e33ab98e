"""From a source's extents to whole blocks: which must be read, and which are known to be zero.

Pure. Extents come in order and do not overlap; gaps between them are unchanged. A block is called zero
only when zero extents cover all of it, up to the end of the disk.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from adapters.port import Extent


@dataclass(frozen=True, slots=True)
class BlockRun:
    """`count` blocks from `first`, all to be read or all known to be zero."""

    first: int
    count: int
    zero: bool


def block_count(size_bytes: int, chunk_bytes: int) -> int:
    """How many blocks a disk has; the last one may be short."""
    return -(-size_bytes // chunk_bytes)


def block_runs(extents: Iterable[Extent], *, size_bytes: int, chunk_bytes: int) -> Iterator[BlockRun]:
    """Yield the touched blocks in order; neighbours of one kind are merged."""
    pending: BlockRun | None = None
    for run in _unmerged(extents, size_bytes, chunk_bytes):
        if pending is not None and pending.zero == run.zero and pending.first + pending.count == run.first:
            pending = BlockRun(pending.first, pending.count + run.count, run.zero)
            continue
        if pending is not None:
            yield pending
        pending = run
    if pending is not None:
        yield pending


def _unmerged(extents: Iterable[Extent], size_bytes: int, chunk_bytes: int) -> Iterator[BlockRun]:
    edge = _EdgeBlock(size_bytes, chunk_bytes)
    for extent in extents:
        if extent.length == 0:
            continue
        first, last = extent.start // chunk_bytes, (extent.end - 1) // chunk_bytes
        for block in range(first, last + 1) if last - first < 2 else (first,):
            yield from edge.touch(block, extent)
        if last - first >= 2:
            yield from edge.flush()
            yield BlockRun(first + 1, last - first - 1, extent.zero)
            yield from edge.touch(last, extent)
    yield from edge.flush()


class _EdgeBlock:
    """The block at an extent's edge, which several extents may share."""

    def __init__(self, size_bytes: int, chunk_bytes: int) -> None:
        self._size_bytes = size_bytes
        self._chunk_bytes = chunk_bytes
        self._block: int | None = None
        self._zero_bytes = 0

    def touch(self, block: int, extent: Extent) -> Iterator[BlockRun]:
        if self._block != block:
            yield from self.flush()
            self._block, self._zero_bytes = block, 0
        if extent.zero:
            start = max(extent.start, block * self._chunk_bytes)
            self._zero_bytes += min(extent.end, (block + 1) * self._chunk_bytes) - start

    def flush(self) -> Iterator[BlockRun]:
        if self._block is not None:
            length = min(self._chunk_bytes, self._size_bytes - self._block * self._chunk_bytes)
            yield BlockRun(self._block, 1, self._zero_bytes == length)
        self._block = None

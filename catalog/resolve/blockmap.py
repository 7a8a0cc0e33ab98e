"""A dense map of consecutive blocks of one disk to the chunks that hold them.

Imports `storage` only. One array cell a block; a block whose `stored` is 0 holds no chunk and reads as zeros.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from storage.chunks.rows import DIGEST_BYTES, ChunkRows, ZeroRuns

PIECE_BLOCKS = 1 << 16
"""Most blocks in one ChunkRows: as many packs as its 16-bit pack index can tell apart."""


class PackTable:
    """Packs, numbered in order of appearance; shared by maps, and only ever longer. Safe to use from threads."""

    def __init__(self) -> None:
        self.ids: list[bytes] = []
        self._numbers: dict[bytes, int] = {}
        self._lock = threading.Lock()

    def numbers(self, packs: tuple[bytes, ...]) -> NDArray[np.uint32]:
        """Return the number of each pack, giving new packs the next ones."""
        with self._lock:
            new = dict.fromkeys(pack for pack in packs if pack not in self._numbers)
            self._numbers.update(zip(new, itertools.count(len(self.ids)), strict=False))
            self.ids.extend(new)
            return np.fromiter(map(self._numbers.__getitem__, packs), np.uint32, len(packs))


class BlockMap:
    """Blocks `first_block` .. `first_block + count` of a disk at one point.

    pack_index u32[count] into `packs.ids`, offsets u32[count] of the record in its pack, stored u32[count] bytes
    of the record (0: no chunk), digests u8[count, 32] or None when they were not asked for.
    """

    __slots__ = ("count", "digests", "first_block", "offsets", "pack_index", "packs", "stored")

    def __init__(
        self,
        first_block: int,
        packs: PackTable,
        pack_index: NDArray[np.uint32],
        offsets: NDArray[np.uint32],
        stored: NDArray[np.uint32],
        digests: NDArray[np.uint8] | None,
    ) -> None:
        self.first_block = first_block
        self.count = len(stored)
        self.packs = packs
        self.pack_index = pack_index
        self.offsets = offsets
        self.stored = stored
        self.digests = digests

    @classmethod
    def blank(cls, first_block: int, count: int, packs: PackTable, *, digests: bool) -> BlockMap:
        """A map without any chunk, which will count packs in `packs`."""
        return cls(
            first_block,
            packs,
            np.zeros(count, np.uint32),
            np.zeros(count, np.uint32),
            np.zeros(count, np.uint32),
            np.zeros((count, DIGEST_BYTES), np.uint8) if digests else None,
        )

    @property
    def end_block(self) -> int:
        """The first block behind the map."""
        return self.first_block + self.count

    @property
    def state(self) -> NDArray[np.uint8]:
        """u8[count]: 1 where a chunk holds the block, 0 where it reads as zeros."""
        return np.minimum(self.stored, 1).astype(np.uint8)

    @property
    def data_blocks(self) -> int:
        """How many blocks a chunk holds."""
        return int(np.count_nonzero(self.stored))

    def part(self, first_block: int, count: int) -> BlockMap:
        """Blocks of this map as a map that shares its memory; they must lie inside."""
        low = first_block - self.first_block
        if low < 0 or low + count > self.count:
            raise IndexError(f"blocks {first_block}+{count} are not in {self.first_block}+{self.count}")
        cut = slice(low, low + count)
        digests = None if self.digests is None else self.digests[cut]
        return BlockMap(first_block, self.packs, self.pack_index[cut], self.offsets[cut], self.stored[cut], digests)

    def apply(self, rows: ChunkRows, zeros: ZeroRuns) -> None:
        """Lay what a later point wrote over this map: zero runs first, then chunks; what lies outside is ignored."""
        for start, count in zip(zeros.starts.tolist(), zeros.counts.tolist(), strict=True):
            self.clear(start, start + count)
        low, high = np.searchsorted(rows.blocks, [self.first_block, self.end_block]).tolist()
        if low == high:
            return
        cut = slice(low, high)
        at = rows.blocks[cut].astype(np.int64) - self.first_block
        self.pack_index[at] = self.packs.numbers(rows.packs)[rows.pack_index[cut]]
        self.offsets[at] = rows.offsets[cut]
        self.stored[at] = rows.stored[cut]
        if self.digests is not None:
            self.digests[at] = rows.digests[cut]

    def clear(self, start: int, end: int) -> None:
        """Blocks `start` .. `end` read as zeros from here on; what lies outside is ignored."""
        low, high = max(start - self.first_block, 0), min(end - self.first_block, self.count)
        if low < high:
            for column in (self.pack_index, self.offsets, self.stored):
                column[low:high] = 0
            if self.digests is not None:
                self.digests[low:high] = 0

    def runs(self) -> Iterator[tuple[int, int, bool]]:
        """Yield (first_block, count, held by chunks), ascending, gapless, as long as possible."""
        if not self.count:
            return
        state = self.stored != 0
        edges = np.flatnonzero(state[1:] != state[:-1]) + 1
        bounds = [0, *edges.tolist(), self.count]
        for start, end in itertools.pairwise(bounds):
            yield self.first_block + start, end - start, bool(state[start])

    def rows(self) -> Iterator[ChunkRows]:
        """Yield the blocks that chunks hold, ascending, at most 65,536 at a time; digests are empty if not kept."""
        for low in range(0, self.count, PIECE_BLOCKS):
            held = np.flatnonzero(self.stored[low : low + PIECE_BLOCKS]) + low
            if len(held):
                yield self._rows_at(held)

    def _rows_at(self, held: NDArray[np.int64]) -> ChunkRows:
        used, index = np.unique(self.pack_index[held], return_inverse=True)
        none = np.empty((0, DIGEST_BYTES), np.uint8)
        return ChunkRows(
            blocks=(held + self.first_block).astype(np.uint32),
            digests=none if self.digests is None else self.digests[held],
            packs=tuple(self.packs.ids[number] for number in used.tolist()),
            pack_index=index.astype(np.uint16),
            offsets=self.offsets[held],
            stored=self.stored[held],
        )

    def zeros(self) -> ZeroRuns:
        """The runs of blocks that no chunk holds."""
        gaps = [(first, count) for first, count, held in self.runs() if not held]
        table = np.array(gaps, dtype=np.uint32).reshape(len(gaps), 2)
        return ZeroRuns(starts=table[:, 0].copy(), counts=table[:, 1].copy())

    def window(self, first_block: int, count: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """State u8[count] and digests u8[count, 32] of blocks, those behind the map being absent."""
        if self.digests is None:
            raise ValueError("the map was resolved without digests")
        inside = max(0, min(count, self.end_block - first_block))
        here = self.part(first_block, inside) if inside else self.part(self.first_block, 0)
        state = np.zeros(count, np.uint8)
        digests = np.zeros((count, DIGEST_BYTES), np.uint8)
        state[:inside] = here.state
        if here.digests is not None:
            digests[:inside] = here.digests
        return state, digests


def empty_zeros() -> ZeroRuns:
    """No runs."""
    none = np.empty(0, np.uint32)
    return ZeroRuns(none, none)

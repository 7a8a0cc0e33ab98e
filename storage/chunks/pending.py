"""Rows that wait until the packs they cite are durable, and leave in batches; imports `storage` only.

Rows are kept per unit, so a batch always ends at a unit's end and tells how far the disk has been dealt with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from storage.chunks.index import Location
from storage.chunks.pipeline import Unit
from storage.chunks.rows import ChunkRows, ZeroRuns
from storage.packs.writer import SealedPack

BATCH_ROWS = 10_000
BATCH_UNITS = 4_096
MAX_UNMARKED_ROWS = 65_536


@dataclass(frozen=True, slots=True)
class Written:
    """What became of a stretch of blocks.

    `packs` are the cited packs that the caller has not been given yet. `changed_blocks` counts rows and zero blocks,
    `unchanged_blocks` those equal to the baseline, `new_chunks` and `stored_bytes` what was added to packs for it.
    Every requested block below `next_block` is dealt with in this value or an earlier one.
    """

    rows: ChunkRows
    zeros: ZeroRuns
    packs: tuple[SealedPack, ...]
    read_bytes: int
    changed_blocks: int
    unchanged_blocks: int
    new_chunks: int
    stored_bytes: int
    next_block: int


class UnitRows:
    """The rows of one unit; of the unit itself only what is small is kept."""

    __slots__ = (
        "blocks",
        "count",
        "digests",
        "locations",
        "new_chunks",
        "next_block",
        "read_bytes",
        "stored_bytes",
        "zeros",
    )

    def __init__(self, unit: Unit) -> None:
        self.blocks = unit.first + unit.data
        self.zeros = unit.first + unit.zeros
        self.digests = unit.digests
        self.count = unit.count
        self.next_block = unit.first + unit.count
        self.read_bytes = unit.read_bytes
        self.locations: list[Location] = []
        self.new_chunks = 0
        self.stored_bytes = 0


class PendingRows:
    """Units in block order, of which a growing head is durable. `to_announce` finds packs not yet given out."""

    def __init__(self, to_announce: Callable[[Iterable[bytes]], list[SealedPack]]) -> None:
        self._to_announce = to_announce
        self._units: list[UnitRows] = []
        self._marked = 0
        self._durable = 0
        self._counted = 0
        self._counted_rows = 0
        self.unmarked_rows = 0

    def add(self, unit: UnitRows) -> None:
        """Append a unit whose packs may still be open."""
        self._units.append(unit)
        self.unmarked_rows += len(unit.locations) + 1

    def mark(self) -> None:
        """Note that the units so far wait for the packs handed out so far, and for none later."""
        self._marked = len(self._units)
        self.unmarked_rows = 0

    def durable(self) -> None:
        """The packs up to the mark are durable."""
        self._durable = self._marked

    def ready(self, *, last: bool) -> Iterator[Written]:
        """Yield batches of durable units; only with `last` a smaller one."""
        while batch := self._batch(last):
            yield _written(batch, self._to_announce)

    def _batch(self, last: bool) -> list[UnitRows]:
        """Take the next batch off, or nothing when there is not enough. Each unit is counted once, however it waits."""
        while self._counted < self._durable and not self._enough():
            self._counted_rows += len(self._units[self._counted].locations)
            self._counted += 1
        if not last and not self._enough():
            return []
        batch = self._units[: self._counted]
        del self._units[: self._counted]
        self._durable -= self._counted
        self._marked -= self._counted
        self._counted = self._counted_rows = 0
        return batch

    def _enough(self) -> bool:
        return self._counted_rows >= BATCH_ROWS or self._counted >= BATCH_UNITS


def _written(batch: list[UnitRows], to_announce: Callable[[Iterable[bytes]], list[SealedPack]]) -> Written:
    rows = _rows(batch)
    zeros = np.concatenate([unit.zeros for unit in batch])
    changed = len(rows) + len(zeros)
    return Written(
        rows=rows,
        zeros=_zero_runs(zeros),
        packs=tuple(to_announce(rows.packs)),
        read_bytes=sum(unit.read_bytes for unit in batch),
        changed_blocks=changed,
        unchanged_blocks=sum(unit.count for unit in batch) - changed,
        new_chunks=sum(unit.new_chunks for unit in batch),
        stored_bytes=sum(unit.stored_bytes for unit in batch),
        next_block=batch[-1].next_block,
    )


def _rows(batch: list[UnitRows]) -> ChunkRows:
    locations = [location for unit in batch for location in unit.locations]
    packs: dict[bytes, int] = {}
    index = [packs.setdefault(location.pack_id, len(packs)) for location in locations]
    return ChunkRows(
        blocks=np.concatenate([unit.blocks for unit in batch]).astype(np.uint32),
        digests=np.concatenate([unit.digests for unit in batch]),
        packs=tuple(packs),
        pack_index=np.array(index, np.uint16),
        offsets=np.array([location.offset for location in locations], np.uint32),
        stored=np.array([location.stored for location in locations], np.uint32),
    )


def _zero_runs(blocks: NDArray[np.uint32]) -> ZeroRuns:
    """Join ascending block numbers to runs that do not touch."""
    if not len(blocks):
        return ZeroRuns(np.empty(0, np.uint32), np.empty(0, np.uint32))
    breaks = np.flatnonzero(np.diff(blocks) > 1) + 1
    starts = blocks[np.concatenate([[0], breaks])]
    ends = blocks[np.concatenate([breaks - 1, [len(blocks) - 1]])]
    return ZeroRuns(starts.astype(np.uint32), (ends - starts + 1).astype(np.uint32))

"""Rows that wait for their packs: what leaves when, and at what cost."""

from __future__ import annotations

import numpy as np

from storage.chunks.index import Location
from storage.chunks.pending import BATCH_ROWS, BATCH_UNITS, PendingRows, UnitRows
from storage.chunks.pipeline import Unit


class CountedLocations(list[Location]):
    """Locations that note how often they are counted."""

    asked = 0

    def __len__(self) -> int:
        type(self).asked += 1
        return super().__len__()


def unit(number: int, rows: int = 0, blocks: int = 8) -> UnitRows:
    """A unit whose first `rows` blocks are data in one pack."""
    made = UnitRows(
        Unit(
            first=number * blocks,
            count=blocks,
            read_bytes=blocks,
            zeros=np.empty(0, np.uint32),
            data=np.arange(rows, dtype=np.uint32),
            digests=np.zeros((rows, 32), np.uint8),
            outcomes=(),
            buffer=memoryview(b""),
        )
    )
    made.locations = CountedLocations(Location(b"p" * 16, 64, 65) for _ in range(rows))
    return made


def test_only_what_is_durable_leaves() -> None:
    """Units behind the mark stay, whatever waits before them; the last batch takes all that is durable and no more."""
    rows = PendingRows(lambda packs: [])
    for number in range(5):
        rows.add(unit(number, rows=8))
    assert list(rows.ready(last=True)) == []
    rows.mark()
    rows.add(unit(5, rows=8))
    rows.durable()
    assert list(rows.ready(last=False)) == []
    assert [each.next_block for each in rows.ready(last=True)] == [40]
    rows.mark()
    rows.durable()
    assert [each.next_block for each in rows.ready(last=True)] == [48]
    assert list(rows.ready(last=True)) == []


def test_batches_are_cut_at_their_size() -> None:
    """A batch leaves once it has enough rows, or enough units when these have none."""
    rows = PendingRows(lambda packs: [])
    for number in range(BATCH_ROWS // 4):
        rows.add(unit(number, rows=8))
    rows.mark()
    rows.durable()
    assert [len(each.rows) for each in rows.ready(last=False)] == [BATCH_ROWS, BATCH_ROWS]
    for number in range(BATCH_UNITS + 1):
        rows.add(unit(BATCH_ROWS + number))
    rows.mark()
    rows.durable()
    assert [each.unchanged_blocks for each in rows.ready(last=False)] == [8 * BATCH_UNITS]
    assert [each.unchanged_blocks for each in rows.ready(last=True)] == [8]


def test_a_waiting_unit_is_counted_once() -> None:
    """Asking after each unit, on a disk where nothing changed, costs the same for every unit."""
    rows = PendingRows(lambda packs: [])
    CountedLocations.asked = 0
    for number in range(BATCH_UNITS - 1):
        rows.add(unit(number))
        rows.mark()
        rows.durable()
        assert list(rows.ready(last=False)) == []
    assert CountedLocations.asked <= 2 * BATCH_UNITS

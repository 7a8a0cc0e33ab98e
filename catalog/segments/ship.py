"""Shipping: rows that no segment holds yet become one, and many small segments become few.

Imports `catalog.log` and `storage`. Safe to run from several processes at once and to be killed anywhere: segments may
then overlap, which readers expect; a row is never in none of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import takewhile

from catalog.log import EventLog
from catalog.log.chain import StoredRow
from catalog.segments.store import SegmentName, SegmentStore, covering
from storage.errors import Corrupt, NotFound

SEGMENT_BYTES = 16 << 20
ROW_BYTES = 128
"""What a row costs beside its state, about."""
SMALL_BYTES = 4 << 20
MANY_SMALL = 64


@dataclass(frozen=True, slots=True)
class ShipReport:
    """Up to where the log is in the store, and how many segments were written for it."""

    position: int
    segments: int


def ship(log: EventLog, store: SegmentStore) -> ShipReport:
    """Write what the store lacks of the log; what another process ships meanwhile is as good.

    Raises Corrupt (log-behind) when the store holds more than the log: the log is an older copy then. Raises Corrupt
    (log-fork) when it went on from an older copy: what is shipped must follow what the store has.
    """
    before = list(covering(store.names()))
    done = before[-1].last if before else 0
    end = log.position()
    if done > end:
        raise Corrupt(
            f"the store holds events up to {done}, the log ends at {end}",
            code="log-behind",
            why="the log is an older copy, or lost its end",
            hint="make it anew from the store: holdfast recover",
        )
    if before and done < end:
        _check_follows(log, store, before[-1])
    written = 0
    for rows in _pieces(log, done, end):
        store.write(rows, log.chain_head(rows[0].position - 1), log.chain_head(rows[-1].position))
        written += 1
    if written:
        _merge_small(log, store)
    return ShipReport(end, written)


def _check_follows(log: EventLog, store: SegmentStore, newest: SegmentName) -> None:
    # Another process may have merged it with its neighbours and removed it: then the rows went through its hands.
    with suppress(NotFound):
        store.require_head(newest, log.chain_head(newest.last))


def shipped(names: Sequence[SegmentName]) -> int:
    """Up to which position segments hold the log without a gap."""
    last = 0
    for name in covering(names):
        last = name.last
    return last


def _pieces(log: EventLog, after: int, end: int) -> Iterator[list[StoredRow]]:
    rows: list[StoredRow] = []
    size = 0
    for row in log.evidence.trusted(after, end):
        rows.append(row)
        size += len(row.state) + ROW_BYTES
        if size >= SEGMENT_BYTES:
            yield rows
            rows, size = [], 0
    if rows:
        yield rows


def _merge_small(log: EventLog, store: SegmentStore) -> None:
    """Write the run of small segments at the end again, as one, and remove them."""
    chain = list(covering(store.names()))
    small = list(takewhile(lambda name: name.size_bytes < SMALL_BYTES, reversed(chain)))[::-1]
    if len(small) < MANY_SMALL:
        return
    for group in _groups(small):
        rows = list(log.evidence.trusted(group[0].first - 1, group[-1].last))
        store.write(rows, log.chain_head(group[0].first - 1), log.chain_head(group[-1].last))
        for name in group:
            store.delete(name)


def _groups(small: Sequence[SegmentName]) -> Iterator[list[SegmentName]]:
    group: list[SegmentName] = []
    for name in small:
        if group and sum(one.size_bytes for one in group) + name.size_bytes > SEGMENT_BYTES:
            if len(group) > 1:
                yield group
            group = []
        group.append(name)
    if len(group) > 1:
        yield group

"""The log made anew from segments: the same rows at the same positions, with the same chain.

Imports `catalog.log` and `storage`. Goes on where an earlier attempt stopped. Stops before the first gap or damaged
segment, and says so: what lies behind it cannot follow what was loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from catalog.log import EventLog
from catalog.log.chain import StoredRow
from catalog.segments.format import Segment
from catalog.segments.store import SegmentName, SegmentStore
from storage.errors import Corrupt

Progress = Callable[[int, int], None]
"""Told the position reached, and the last position that the store names."""


@dataclass(frozen=True, slots=True)
class LoadReport:
    """The log's position now, and how many segments were read.

    `lost` says what is wrong with segments that the store holds and that could not follow; `unused` are all those.
    """

    position: int
    segments: int
    lost: tuple[str, ...]
    unused: tuple[SegmentName, ...]


def load(log: EventLog, store: SegmentStore, *, progress: Progress = lambda done, end: None) -> LoadReport:
    """Append to `log` what the store has behind it. Raises Corrupt (log-fork) when the store tells another story."""
    names = store.names()
    end = max((name.last for name in names), default=0)
    read, damaged = 0, dict[str, str]()
    position = log.position()
    while (found := _first_whole(store, _next(names, position), damaged)) is not None:
        segment, rows = found
        position = log.append_stored([row for row in rows if row.position > position], segment.head)
        read += 1
        progress(position, end)
    unused = tuple(name for name in names if name.last > position)
    unreached = [f"segment {name.name} was not reached" for name in unused if name.name not in damaged]
    return LoadReport(position, read, (*damaged.values(), *unreached), unused)


def _next(names: Sequence[SegmentName], position: int) -> list[SegmentName]:
    """What reaches behind `position` without a gap, what reaches furthest first."""
    fitting = [name for name in names if name.first <= position + 1 <= name.last]
    return sorted(fitting, key=lambda name: -name.last)


def _first_whole(
    store: SegmentStore, candidates: Sequence[SegmentName], damaged: dict[str, str]
) -> tuple[Segment, list[StoredRow]] | None:
    """The first segment that is whole; what is wrong with others is kept in `damaged`."""
    for name in candidates:
        try:
            return store.read(name)
        except Corrupt as error:
            damaged[name.name] = str(error)
    return None

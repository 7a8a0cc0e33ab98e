"""Events in the order of the log, read from the index with pruning. Imports this package and `storage`.

First the positions are found, by columns that are cheap to read and window by window; then the rows of a page.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

import msgspec
import numpy as np
import pyarrow as pa

from catalog.access.caller import Scope
from catalog.queries.asked import Asked, Page, after_number
from catalog.queries.moment import KnownMachine, Mask, Moment, Rows
from catalog.queries.rows import EventRow
from catalog.queries.runs import TEXTS, RunBook
from storage.errors import NotFound
from storage.lake import Lake

FIRST_WINDOW = 1 << 12
LAST_WINDOW = 1 << 18
FILTERED = ("position", *TEXTS)
NEAR = 1 << 13
"""Rows that are no further from each other are read together."""


@dataclass(frozen=True, slots=True)
class Sought:
    """Which events; see `CatalogReads.events`."""

    machine_id: UUID | None = None
    restore_point_id: UUID | None = None
    topic: str | None = None
    newest_first: bool = False


@dataclass(frozen=True, slots=True)
class _Filter:
    """What an event must be: of these machines or runs (texts, None for any), of this topic, or at `positions`."""

    machines: frozenset[str] | None
    runs: frozenset[str] | None
    topic: str | None
    positions: Rows

    def matches(self, batch: pa.RecordBatch) -> Rows:
        """The positions of the events in a batch that match."""
        position = batch.column("position").to_numpy()
        mask = np.ones(len(position), bool)
        if self.machines is not None or self.runs is not None:
            mask = _among(batch.column("machine_id"), self.machines) | _among(batch.column("run_id"), self.runs)
            mask |= np.isin(position, self.positions)
        if self.topic is not None:
            mask &= self._of_topic(batch.column("topic"))
        matching: Rows = position[mask]
        return matching

    def _of_topic(self, column: pa.DictionaryArray) -> Mask:
        wanted = [self.topic in (topic, topic.partition("/")[0]) for topic in column.dictionary.to_pylist()]
        found: Mask = np.array(wanted, bool)[column.indices.to_numpy()]
        return found


class Happenings:
    """The events of one lake. Safe to use from several threads."""

    def __init__(self, lake: Lake, runs: RunBook) -> None:
        self._lake = lake
        self._runs = runs

    def page(self, moment: Moment, asked: Asked, sought: Sought) -> Page[EventRow]:
        """See `CatalogReads.events`."""
        first, last, wanted = self._wanted(moment, asked.scope, sought)
        after = after_number(asked)
        if after is not None and sought.newest_first:
            last = min(last, after - 1)
        elif after is not None:
            first = max(first, after + 1)
        found: list[int] = []
        for positions in self._windows(first, last, wanted, newest_first=sought.newest_first):
            found += positions
            if len(found) > asked.limit:
                break
        some = found[: asked.limit]
        rows = {row.position: row for row in self._rows(some)}
        following = (some[-1],) if len(found) > asked.limit else None
        return Page(tuple(rows[position] for position in some), following, moment.position)

    def event(self, moment: Moment, scope: Scope, position: int) -> EventRow:
        """See `CatalogReads.event`."""
        wanted = self._in_scope(moment, scope)
        if 0 < position <= moment.position:
            for positions in self._windows(position, position, wanted, newest_first=False):
                if positions:
                    return next(self._rows(positions))
        raise NotFound(f"there is no event {position}", code="event-unknown")

    def _wanted(self, moment: Moment, scope: Scope, sought: Sought) -> tuple[int, int, _Filter]:
        """The first and last position to look at, and what to look for. Raises NotFound."""
        if sought.restore_point_id is not None:
            return self._of_point(moment, scope, sought, sought.restore_point_id)
        if sought.machine_id is None:
            return 1, moment.position, self._in_scope(moment, scope, sought.topic)
        machine = moment.machine(scope, sought.machine_id)
        return 1, moment.position, self._of_machines(moment, [machine], sought.topic)

    def _of_point(
        self, moment: Moment, scope: Scope, sought: Sought, restore_point_id: UUID
    ) -> tuple[int, int, _Filter]:
        row = moment.point(scope, restore_point_id)
        table = moment.table("restore_points")
        number, run = int(table["restore_point_id"][row]), int(table["run_id"][row])
        told = [np.array([table["position"][row]])]
        for name in ("verifications", "deletions"):
            other = moment.table(name)
            told.append(other["position"][other["restore_point_id"] == number])
        positions = np.concatenate(told)
        runs = self._runs.at(moment)
        first = min(int(positions.min()), int(runs.first[run]))
        last = max(int(positions.max()), int(runs.last[run]))
        of_run = frozenset([moment.text(run, "run")])
        return first, min(last, moment.position), _Filter(frozenset(), of_run, sought.topic, positions)

    def _in_scope(self, moment: Moment, scope: Scope, topic: str | None = None) -> _Filter:
        if scope.everything:
            return _Filter(None, None, topic, np.empty(0, np.int64))
        return self._of_machines(moment, moment.visible_machines(scope), topic)

    def _of_machines(self, moment: Moment, machines: Sequence[KnownMachine], topic: str | None) -> _Filter:
        wanted = np.array([machine.number for machine in machines], np.int64)
        runs = np.flatnonzero(self._runs.at(moment).of_machines(moment, wanted)).tolist()
        of_run = frozenset(moment.text(run, "run") for run in runs)
        return _Filter(frozenset(str(machine.machine_id) for machine in machines), of_run, topic, np.empty(0, np.int64))

    def _windows(self, first: int, last: int, wanted: _Filter, *, newest_first: bool) -> Iterator[list[int]]:
        """The positions that match, window by window, each window and all together in order."""
        size = FIRST_WINDOW
        while first <= last:
            window = (max(first, last - size + 1), last) if newest_first else (first, min(last, first + size - 1))
            batches = self._lake.read("events", FILTERED, where={"position": window}, dictionaries=TEXTS)
            parts = [wanted.matches(batch) for batch in batches if batch.num_rows]
            found: list[int] = np.sort(np.concatenate([np.empty(0, np.int64), *parts])).tolist()
            yield found[::-1] if newest_first else found
            first, last = (first, window[0] - 1) if newest_first else (window[1] + 1, last)
            size = min(2 * size, LAST_WINDOW)

    def _rows(self, positions: Sequence[int]) -> Iterator[EventRow]:
        """The events at some positions."""
        ordered = np.sort(np.array(positions, np.int64))
        for near in np.split(ordered, np.flatnonzero(np.diff(ordered) > NEAR) + 1):
            if not len(near):
                continue
            for batch in self._lake.read("events", where={"position": (int(near[0]), int(near[-1]))}):
                some = batch.filter(pa.array(np.isin(batch.column("position").to_numpy(), near)))
                for row in some.to_pylist():
                    yield msgspec.convert(row, EventRow)


def _among(column: pa.DictionaryArray, texts: frozenset[str] | None) -> Mask:
    """Which rows have one of the texts."""
    wanted = [texts is not None and text in texts for text in column.dictionary.to_pylist()]
    found: Mask = np.array([*wanted, False], bool)[column.indices.fill_null(-1).to_numpy()]
    return found

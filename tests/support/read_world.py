"""Random histories, their index, what reads say of them, and what plain Python over the events says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

from catalog.access.caller import EVERYTHING, Scope
from catalog.log import EventLog, Recorded
from catalog.projections import TABLES, Projector
from catalog.queries.reads import Asked, CatalogReads, Page
from catalog.resolve.from_lake import LakeRows
from catalog.resolve.resolver import Resolver
from storage.lake import Lake
from tests.support.history import History
from tests.support.naive_reads import Maps, Naive

SCOPES = (EVERYTHING, Scope(("lab/*",)), Scope(("prod*/*", "lab/web")), Scope(()), Scope(("*",)))

FIRST, LAST = date(2026, 1, 1), date(2026, 1, 2)
START = datetime(2026, 1, 1, tzinfo=UTC)


class World:
    """A history, its index and the reads, which followed it step by step."""

    def __init__(self, log: EventLog, lake: Lake, seed: int) -> None:
        self.log = log
        self.lake = lake
        self.history = History(log, seed)
        self.random = Random(seed)
        self._recorded: list[Recorded] = []
        self._maps: Maps = {}
        self.reads = CatalogReads(lake, Resolver(LakeRows(lake)))

    def go_on(self, steps: int) -> None:
        """Record some more and let the reads follow."""
        self.history.steps(steps)
        Projector(self.log, self.lake).catch_up()
        self.reads.refresh()

    def positions(self) -> list[int]:
        """The newest position and some earlier ones."""
        end = self.reads.position
        return [end, *sorted(self.random.sample(range(1, end), 2))]

    def naive(self, position: int, scope: Scope) -> Naive:
        """The slow answers."""
        if not self._recorded or self._recorded[-1].position < position:
            self._recorded = list(self.log.follow(0))
        return Naive(self._recorded, position, scope, self._maps)


@contextmanager
def world(folder: Path, seed: int, steps: int = 40) -> Iterator[World]:
    """A history that was projected in several goes; between them files are merged and what is not cited is removed."""
    with (
        closing(EventLog.create(folder / "events.sqlite")) as log,
        closing(Lake.create(folder / "lake", TABLES)) as lake,
    ):
        made = World(log, lake, seed)
        for _ in range(4):
            made.go_on(steps // 4)
            for table in TABLES:
                lake.compact(table.name, min_files=3)
            lake.expire_snapshots(())
            lake.delete_scheduled(timedelta(0))
        yield made


def asked_and_naive(some: World) -> Iterator[tuple[Asked, Naive]]:
    """Every scope at some positions."""
    for position in some.positions():
        for scope in SCOPES:
            yield Asked(scope, as_of=position, limit=1000), some.naive(position, scope)


def whole(ask: Callable[[Asked], Page[Any]], asked: Asked) -> list[Any]:
    """All pages of a list."""
    rows: list[Any] = []
    while True:
        page = ask(asked)
        rows += page.rows
        assert page.position == asked.as_of
        assert len(page.rows) <= asked.limit
        if page.next is None:
            return rows
        assert len(page.rows) == asked.limit
        asked = replace(asked, after=page.next)

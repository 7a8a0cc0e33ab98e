"""Pages and readers while the catalog grows, and cursors, positions and limits that cannot be."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from catalog.access.caller import EVERYTHING
from catalog.queries.reads import Asked, Page
from storage.errors import Invalid
from tests.support.history import DIGESTS
from tests.support.read_world import FIRST, LAST, world


def test_pages_at_a_position_stay_while_the_catalog_grows(tmp_path: Path) -> None:
    """Pages of a pinned position put together are the whole list, whatever is recorded between them."""
    with world(tmp_path, 99) as made:
        reads = made.reads
        pinned = Asked(EVERYTHING, as_of=reads.position, limit=1000)
        asks: dict[str, Callable[[Asked], Page[Any]]] = {
            "machines": reads.machines,
            "points": reads.restore_points,
            "oldest": lambda one: reads.restore_points(one, newest_first=False),
            "events": reads.events,
            "newest": lambda one: reads.events(one, newest_first=True),
            "references": lambda one: reads.references(one, DIGESTS[0], inherited=True),
            "grid": lambda one: reads.coverage_grid(one, first_day=FIRST, last_day=LAST),
            "search": lambda one: reads.search(one, "e"),
        }
        before = {name: ask(pinned).rows for name, ask in asks.items()}
        for name, ask in asks.items():
            rows: list[Any] = []
            asked = replace(pinned, limit=3)
            while True:
                page = ask(asked)
                rows += page.rows
                if page.next is None:
                    break
                asked = replace(asked, after=page.next)
                if len(rows) < 10:
                    made.go_on(2)
            assert tuple(rows) == before[name], name


def test_readers_are_never_torn_and_never_wait(tmp_path: Path) -> None:
    """While the catalog grows and refreshes, other threads' answers are whole and of one position each."""
    with world(tmp_path, 7) as made:
        stop = threading.Event()

        def read() -> int:
            rounds = 0
            while not stop.is_set():
                machines = made.reads.machines(Asked(EVERYTHING, limit=1000))
                pinned = Asked(EVERYTHING, as_of=machines.position, limit=1000)
                points = made.reads.restore_points(pinned).rows
                assert sum(row.restore_points for row in machines.rows) == len(points)
                events = made.reads.events(replace(pinned, limit=1), newest_first=True)
                assert [row.position for row in events.rows] == [machines.position]
                assert made.reads.status(pinned).restore_points == len(points)
                if points:
                    assert made.reads.point_disks(pinned, points[0].restore_point_id).rows
                rounds += 1
            return rounds

        with ThreadPoolExecutor(3) as pool:
            readers = [pool.submit(read) for _ in range(3)]
            for _ in range(25):
                made.go_on(2)
            stop.set()
            assert all(reader.result() for reader in readers)


@pytest.mark.parametrize("after", [("x",), (1, 2), (None,), (), ("a", "b", "c", "d")])
def test_a_cursor_of_another_list_is_refused(tmp_path: Path, after: Any) -> None:
    """A cursor that no page gave is Invalid, never a wrong page."""
    with world(tmp_path, 3, steps=20) as made:
        asked = Asked(EVERYTHING, after=after)
        for ask in (
            made.reads.restore_points,
            made.reads.events,
            lambda one: made.reads.references(one, DIGESTS[0]),
        ):
            with pytest.raises(Invalid):
                ask(asked)


def test_positions_and_limits_that_cannot_be_are_refused(tmp_path: Path) -> None:
    """The future cannot be answered for, and a page is bounded."""
    with world(tmp_path, 3, steps=20) as made:
        for as_of in (-1, made.reads.position + 1):
            with pytest.raises(Invalid):
                made.reads.machines(Asked(EVERYTHING, as_of=as_of))
        for limit in (0, 1001):
            with pytest.raises(Invalid):
                Asked(EVERYTHING, limit=limit)
        assert made.reads.machines(Asked(EVERYTHING, as_of=0)).rows == ()
        assert made.reads.status(Asked(EVERYTHING, as_of=0)).machines == 0
        with pytest.raises(Invalid):
            made.reads.references(Asked(EVERYTHING), b"short")

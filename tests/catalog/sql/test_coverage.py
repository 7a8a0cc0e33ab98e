"""The view `coverage`: a row a day, meaning what the catalog's own assessment of coverage means."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from catalog.domain.coverage import CoveredPoint, day_states
from catalog.domain.events import Event, RestorePointDeleted, RestorePointVerified
from catalog.log import EventLog
from catalog.projections import TABLES, Projector
from catalog.sql.runner import run_sql
from storage.lake import Lake
from tests.support.recorded import Author, Change, rows_at

HOUR = timedelta(hours=1)


class History:
    """A log of one machine, what was recorded of it, and its index."""

    def __init__(self, folder: Path) -> None:
        self.log = EventLog.create(folder / "events.sqlite")
        self.lake = Lake.create(folder / "index", TABLES)
        self.author = Author(self.log)
        self.machine = self.author.machine("web")
        self.points: dict[UUID, CoveredPoint] = {}

    def backup(self, hours: float, result: str = "complete") -> UUID:
        """A restore point, recorded so many hours later."""
        self.author.skip(timedelta(hours=hours))
        claim = self.author.now() - timedelta(days=300)
        point = self.author.backup(self.machine, {"vda": Change(rows_at(range(3), 1))}, result=result, taken_at=claim)
        (event,) = [event for event in self.log.stream(self.machine) if getattr(event, "restore_point_id", "") == point]
        self.points[point] = CoveredPoint(point, event.recorded_at, result)  # type: ignore[arg-type]
        return point

    def verify(self, point: UUID, result: str) -> Event:
        """A verification."""
        about = {"machine_id": self.machine, "level": "stored", "chunks": 1, "checked_bytes": 1, "problems": ()}
        return self.author.save(point, RestorePointVerified, result=result, **about)

    def delete(self, point: UUID) -> Event:
        """A deletion."""
        why = {"actor": "alice", "rule": "manual", "reason": "old"}
        return self.author.save(self.machine, RestorePointDeleted, restore_point_id=point, **why)

    def days(self) -> list[dict[str, Any]]:
        """The view."""
        Projector(self.log, self.lake).catch_up()
        rows: list[dict[str, Any]] = run_sql(self.lake, "FROM coverage ORDER BY day").read_all().to_pylist()
        return rows


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    """A machine that was never backed up."""
    made = History(tmp_path)
    with closing(made.log), closing(made.lake):
        yield made


def test_each_day_has_the_state_that_the_assessment_gives_it(history: History) -> None:
    """Verified, present, partial, damaged, deleted, missing: view and assessment agree on every day and count."""
    days: list[list[tuple[str, str | None, bool]]] = [
        [("complete", "ok", False), ("partial", None, False)],
        [("complete", "damaged", False), ("complete", None, False)],
        [("partial", "ok", False)],
        [],
        [("complete", "damaged", False), ("complete", "ok", True)],
        [("complete", "ok", True)],
        [("partial", "damaged", False), ("partial", None, False)],
        [],
        [("complete", None, False)],
    ]
    expected = []
    history.author.skip(-timedelta(minutes=1))
    start = history.author.now()
    for number, of_day in enumerate(days):
        for result, verified, deleted in of_day:
            hours = (start + timedelta(days=number, hours=1) - history.author.now()) / HOUR
            point = history.backup(max(hours, 0.5), result)
            recorded_at = history.points[point].recorded_at
            verification = history.verify(point, verified).recorded_at if verified else None
            deletion = history.delete(point).recorded_at if deleted else None
            expected.append(
                CoveredPoint(point, recorded_at, result, (), verification, verified, deletion)  # type: ignore[arg-type]
            )
    found = history.days()
    states = day_states(expected, found[0]["day"], found[-1]["day"])
    assert [
        (row["day"], row["state"], row["points"], row["verified_points"], row["partial_points"]) for row in found
    ] == [(day.day, day.state, day.points, day.verified, day.partial) for day in states]
    assert {day.state for day in states} == {"verified", "present", "partial", "missing", "damaged", "deleted"}
    assert [row["deleted_points"] for row in found] == [0, 0, 0, 0, 1, 1, 0, 0, 0]
    assert [row["damaged_points"] for row in found] == [0, 1, 0, 0, 1, 0, 1, 0, 0]
    assert {(row["machine"], row["source"], row["machine_id"]) for row in found} == {
        ("web", "lab", str(history.machine))
    }


def test_a_gap_is_told_on_the_days_it_ends_or_goes_on(history: History) -> None:
    """The longest time without a point, also across days, up to the last event; claims of the source do not count."""
    assert history.days() == []
    first = history.points[history.backup(0)].recorded_at
    second = history.points[history.backup(60)].recorded_at
    third = history.points[history.backup(2)].recorded_at
    history.author.skip(timedelta(hours=30))
    last = history.author.save(history.machine, RestorePointDeleted, **_gone(next(iter(history.points)))).recorded_at
    midnight = datetime.combine(first.date() + timedelta(days=1), datetime.min.time(), UTC)
    found = history.days()
    assert [row["day"] for row in found] == [date(2026, 1, day) for day in (1, 2, 3, 4)]
    day = timedelta(days=1)
    expected = [midnight - first, midnight + day - first, second - first, last - third]
    assert [row["gap_hours"] for row in found] == pytest.approx([gap / HOUR for gap in expected])
    assert [row["last_point_at"] for row in found] == [first, first, third, third]


def _gone(point: UUID) -> dict[str, object]:
    return {"restore_point_id": point, "actor": "alice", "rule": "manual", "reason": "old"}


def test_days_are_utc_days(history: History) -> None:
    """A point at 23:30 UTC belongs to the day before midnight."""
    history.backup((datetime(2026, 1, 5, 23, 30, tzinfo=UTC) - history.author.now()) / HOUR)
    assert [(row["day"], row["points"]) for row in history.days()] == [(date(2026, 1, 5), 1)]

"""How well machines are covered by restore points, with `catalog.domain.coverage`. Imports this package."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal, cast
from uuid import UUID

import numpy as np

from catalog.domain.coverage import CoveredPoint, assess
from catalog.queries.asked import Asked, Page, page
from catalog.queries.machines import kept_of
from catalog.queries.moment import KnownMachine, Mask, Moment, Rows, microseconds, time_of
from catalog.queries.points import labels_left_out
from catalog.queries.rows import CoverageRow, DayRow, GapRow, GridRow, LeftOutDiskRow
from catalog.queries.warm import NULL
from storage.errors import Invalid, Limit

MAX_GRID_DAYS = 400
DAY = 86_400_000_000
MICROSECOND = timedelta(microseconds=1)
STATES = ("verified", "present", "partial", "damaged", "deleted", "missing")
"""The best first."""


def coverage(
    moment: Moment,
    asked: Asked,
    machine_id: UUID,
    *,
    start: datetime,
    end: datetime,
    rpo: timedelta,
    accepted: Collection[str],
) -> CoverageRow:
    """See `CatalogReads.coverage`."""
    machine = moment.machine(asked.scope, machine_id)
    known_since = time_of(kept_of(moment).first_seen[machine.number])
    rows = _rows(moment, machine)
    recorded = moment.table("restore_points")["recorded_at"][rows]
    points = _points(
        moment, rows[(recorded >= microseconds(start) - rpo // MICROSECOND) & (recorded < microseconds(end))]
    )
    report = assess(points, start=start, end=end, rpo=rpo, known_since=known_since, accepted=accepted)
    return CoverageRow(
        machine_id=machine_id,
        machine=machine.name,
        source=machine.source,
        start=report.start,
        end=report.end,
        known_from=report.known_from,
        rpo_seconds=report.rpo.total_seconds(),
        covered=report.covered,
        points=report.points,
        verified_points=report.verified_points,
        damaged_points=report.damaged_points,
        deleted_points=report.deleted_points,
        gaps=tuple(GapRow(start=gap.start, end=gap.end) for gap in report.gaps),
        left_out=tuple(LeftOutDiskRow(label=disk.label, points=disk.points) for disk in report.left_out),
    )


def coverage_grid(moment: Moment, asked: Asked, first_day: date, last_day: date) -> Page[GridRow]:
    """See `CatalogReads.coverage_grid`."""
    if last_day < first_day:
        raise Invalid("the last day is before the first", code="coverage-period")
    if (last_day - first_day).days >= MAX_GRID_DAYS:
        raise Limit(f"a grid has at most {MAX_GRID_DAYS} days", code="coverage-days", hint="ask for a shorter time")
    machines = moment.visible_machines(asked.scope)
    return page(
        asked,
        moment.position,
        machines,
        lambda machine: machine.key,
        lambda machine: _grid_row(moment, machine, first_day, last_day),
    )


def _grid_row(moment: Moment, machine: KnownMachine, first_day: date, last_day: date) -> GridRow:
    """What `day_states` says, but for many machines at once: the best of a day's points decides its state."""
    rows = _rows(moment, machine)
    start = microseconds(datetime.combine(first_day, time(), UTC))
    count = (last_day - first_day).days + 1
    days = (moment.table("restore_points")["recorded_at"][rows] - start) // DAY
    inside = (days >= 0) & (days < count)
    rows, days = rows[inside], days[inside]
    ranks, verified, partial = (facts[rows] for facts in moment.once("day facts", lambda: _day_facts(moment)))
    best = np.full(count, len(STATES) - 1)
    np.minimum.at(best, days, ranks)
    columns = [best, *(np.bincount(days[which], minlength=count) for which in (slice(None), verified, partial))]
    return GridRow(
        machine_id=machine.machine_id,
        machine=machine.name,
        source=machine.source,
        first_seen_at=time_of(kept_of(moment).first_seen[machine.number]),
        days=tuple(
            DayRow(day=first_day + timedelta(days=number), state=STATES[state], points=every, verified=ok, partial=part)
            for number, (state, every, ok, part) in enumerate(zip(*(one.tolist() for one in columns), strict=True))
        ),
    )


def _day_facts(moment: Moment) -> tuple[Rows, Mask, Mask]:
    """Of each restore point: the place of its state in STATES, whether it was verified, whether it is partial."""
    points, words = moment.table("restore_points"), moment.words("word")
    results = np.append(moment.table("verifications")["result"], NULL)[moment.verified_rows]
    damaged, verified = (results == words.find(text) for text in ("damaged", "ok"))
    partial = points["result"] == words.find("partial")
    ranks = np.select(
        [moment.deleted_rows >= 0, damaged, partial, verified],
        [STATES.index(state) for state in ("deleted", "damaged", "partial", "verified")],
        STATES.index("present"),
    )
    return ranks, verified, partial


def _rows(moment: Moment, machine: KnownMachine) -> Rows:
    return np.flatnonzero(moment.table("restore_points")["machine_id"] == machine.number)


def _points(moment: Moment, rows: Rows) -> list[CoveredPoint]:
    """What coverage needs to know of the restore points at some rows."""
    table, checks, deletions = (moment.table(name) for name in ("restore_points", "verifications", "deletions"))
    texts = moment.words("word").texts
    columns = (table["restore_point_id"], table["recorded_at"], table["result"], table["left_out_disks"])
    ids = moment.words("point")
    taken = [column[rows].tolist() for column in (*columns, moment.verified_rows, moment.deleted_rows)]
    return [
        CoveredPoint(
            restore_point_id=ids.id(point),
            recorded_at=time_of(recorded),
            result=cast("Literal['complete', 'partial']", texts[result]),
            left_out=labels_left_out(texts[left_out]),
            verified_at=None if check < 0 else time_of(int(checks["recorded_at"][check])),
            verified_result=None if check < 0 else cast("Literal['ok', 'damaged']", texts[checks["result"][check]]),
            deleted_at=None if deletion < 0 else time_of(int(deletions["recorded_at"][deletion])),
        )
        for point, recorded, result, left_out, check, deletion in zip(*taken, strict=True)
    ]

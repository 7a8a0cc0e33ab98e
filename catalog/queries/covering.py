"""How well machines are covered by restore points, with `catalog.domain.coverage`. Imports this package."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal, cast
from uuid import UUID

import numpy as np

from catalog.domain.coverage import CoveredPoint, assess, day_states
from catalog.queries.asked import Asked, Page, page
from catalog.queries.machines import kept_of
from catalog.queries.moment import KnownMachine, Moment, Rows, microseconds, time_of
from catalog.queries.points import labels_left_out
from catalog.queries.rows import CoverageRow, DayRow, GapRow, GridRow, LeftOutDiskRow
from storage.errors import Invalid, Limit

MAX_GRID_DAYS = 400


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
    points = _points(moment, _rows(moment, machine))
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
    rows = _rows(moment, machine)
    recorded = moment.table("restore_points")["recorded_at"][rows]
    start, end = (microseconds(datetime.combine(day, time(), UTC)) for day in (first_day, last_day + timedelta(days=1)))
    days = day_states(_points(moment, rows[(recorded >= start) & (recorded < end)]), first_day, last_day)
    return GridRow(
        machine_id=machine.machine_id,
        machine=machine.name,
        source=machine.source,
        first_seen_at=time_of(kept_of(moment).first_seen[machine.number]),
        days=tuple(
            DayRow(day=day.day, state=day.state, points=day.points, verified=day.verified, partial=day.partial)
            for day in days
        ),
    )


def _rows(moment: Moment, machine: KnownMachine) -> Rows:
    return np.flatnonzero(moment.table("restore_points")["machine_id"] == machine.number)


def _points(moment: Moment, rows: Rows) -> list[CoveredPoint]:
    """What coverage needs to know of the restore points at some rows."""
    table, checks, deletions = (moment.table(name) for name in ("restore_points", "verifications", "deletions"))
    texts, ids = moment.words("word").texts, moment.words("point").texts
    columns = (table["restore_point_id"], table["recorded_at"], table["result"], table["left_out_disks"])
    taken = [column[rows].tolist() for column in (*columns, moment.verified_rows, moment.deleted_rows)]
    return [
        CoveredPoint(
            restore_point_id=UUID(ids[point]),
            recorded_at=time_of(recorded),
            result=cast("Literal['complete', 'partial']", texts[result]),
            left_out=labels_left_out(texts[left_out]),
            verified_at=None if check < 0 else time_of(int(checks["recorded_at"][check])),
            verified_result=None if check < 0 else cast("Literal['ok', 'damaged']", texts[checks["result"][check]]),
            deleted_at=None if deletion < 0 else time_of(int(deletions["recorded_at"][deletion])),
        )
        for point, recorded, result, left_out, check, deletion in zip(*taken, strict=True)
    ]

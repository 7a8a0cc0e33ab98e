"""Whether a machine was backed up as often as an RPO asks, and what each day looks like.

Pure; imports `storage.errors` of ours. Only our own clock (`recorded_at`) counts, never what a source claims.
Times are aware; days are UTC.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Literal
from uuid import UUID

from storage.errors import Invalid, Limit

MAX_DAYS = 20_000

DayState = Literal["verified", "present", "partial", "missing", "damaged", "deleted"]
_BEST_FIRST: tuple[DayState, ...] = ("verified", "present", "partial", "damaged", "deleted")


@dataclass(frozen=True, slots=True)
class CoveredPoint:
    """What coverage needs to know of one restore point; `verified_*` are those of its last verification."""

    restore_point_id: UUID
    recorded_at: datetime
    result: Literal["complete", "partial"]
    left_out: tuple[str, ...] = ()
    verified_at: datetime | None = None
    verified_result: Literal["ok", "damaged"] | None = None
    deleted_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Gap:
    """From a covering point to the next one, cut to the period: too long for the RPO."""

    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class LeftOutDisk:
    """A disk that `points` restore points of the period do not hold."""

    label: str
    points: int


@dataclass(frozen=True, slots=True)
class CoverageReport:
    """Coverage of [start, end). `known_from`: where counting began, later than `start` for a new machine.

    The counts are of restore points recorded in the period, whether they cover or not.
    """

    start: datetime
    end: datetime
    known_from: datetime
    rpo: timedelta
    points: int
    gaps: tuple[Gap, ...]
    left_out: tuple[LeftOutDisk, ...]
    verified_points: int
    damaged_points: int
    deleted_points: int

    @property
    def covered(self) -> bool:
        """Whether there is no gap."""
        return not self.gaps


@dataclass(frozen=True, slots=True)
class Day:
    """One UTC day: its best restore point decides the state. `points` counts all of them, deleted ones too."""

    day: date
    state: DayState
    points: int
    verified: int
    partial: int


def assess(
    points: Sequence[CoveredPoint],
    *,
    start: datetime,
    end: datetime,
    rpo: timedelta,
    known_since: datetime | None,
    accepted: Collection[str] = (),
) -> CoverageReport:
    """Assess [start, end): at each moment a covering point, not older than `rpo`, must exist.

    Give the points of at least [start - rpo, end), in any order. A partial point covers when all disks it left out
    are `accepted`, a damaged one never, a deleted one until it was deleted. A machine gets `rpo` from `known_since`
    to its first point; None says that it was known all along. Raises Invalid `coverage-period`.
    """
    _check_period(start, end, rpo)
    known_from = start if known_since is None else max(start, known_since)
    before = [point for point in points if point.recorded_at < end]
    counted = [point for point in before if start <= point.recorded_at]
    left_out = Counter(label for point in counted for label in set(point.left_out))
    return CoverageReport(
        start=start,
        end=end,
        known_from=known_from,
        rpo=rpo,
        points=len(counted),
        gaps=tuple(_gaps(_covered_spans(before, rpo, known_since, accepted), known_from, end, rpo)),
        left_out=tuple(LeftOutDisk(label, number) for label, number in sorted(left_out.items())),
        verified_points=sum(point.verified_result == "ok" for point in counted),
        damaged_points=sum(point.verified_result == "damaged" for point in counted),
        deleted_points=sum(point.deleted_at is not None for point in counted),
    )


def day_states(points: Sequence[CoveredPoint], first_day: date, last_day: date) -> list[Day]:
    """Return each day from `first_day` to `last_day`, both included. Raises Invalid, Limit above 20,000 days."""
    if last_day < first_day:
        raise Invalid("the last day is before the first", code="coverage-period")
    number = (last_day - first_day).days + 1
    if number > MAX_DAYS:
        raise Limit(f"{number} days are too many at once", code="coverage-days", why=f"at most {MAX_DAYS}")
    by_day: dict[date, list[CoveredPoint]] = defaultdict(list)
    for point in points:
        by_day[point.recorded_at.astimezone(UTC).date()].append(point)
    return [_day(day, by_day.get(day, [])) for day in (first_day + timedelta(days=n) for n in range(number))]


def _check_period(start: datetime, end: datetime, rpo: timedelta) -> None:
    if start.tzinfo is None or end.tzinfo is None or not start < end:
        raise Invalid("the period does not end behind its start", code="coverage-period")
    if rpo <= timedelta(0):
        raise Invalid("the RPO is not above zero", code="coverage-period")


def _covers(point: CoveredPoint, accepted: Collection[str]) -> bool:
    if point.verified_result == "damaged":
        return False
    return point.result == "complete" or (bool(point.left_out) and set(point.left_out) <= set(accepted))


def _covered_spans(
    points: Sequence[CoveredPoint], rpo: timedelta, known_since: datetime | None, accepted: Collection[str]
) -> list[tuple[datetime, datetime]]:
    spans = [] if known_since is None else [(known_since, known_since + rpo)]
    for point in points:
        if _covers(point, accepted):
            until = point.recorded_at + rpo
            spans.append((point.recorded_at, until if point.deleted_at is None else min(until, point.deleted_at)))
    return sorted(spans)


def _gaps(spans: list[tuple[datetime, datetime]], begin: datetime, end: datetime, rpo: timedelta) -> Iterator[Gap]:
    covered_until = reported_until = begin
    for first, until in [*spans, (end, end)]:
        if covered_until < min(first, end):
            # The last covering point, which aged out here: one RPO back.
            yield Gap(max(covered_until - rpo, reported_until), min(first, end))
            reported_until = min(first, end)
        covered_until = max(covered_until, until)


def _day(day: date, points: list[CoveredPoint]) -> Day:
    states = {_state(point) for point in points}
    return Day(
        day=day,
        state=next((state for state in _BEST_FIRST if state in states), "missing"),
        points=len(points),
        verified=sum(point.verified_result == "ok" for point in points),
        partial=sum(point.result == "partial" for point in points),
    )


def _state(point: CoveredPoint) -> DayState:
    if point.deleted_at is not None:
        return "deleted"
    if point.verified_result == "damaged":
        return "damaged"
    if point.result == "partial":
        return "partial"
    return "verified" if point.verified_result == "ok" else "present"

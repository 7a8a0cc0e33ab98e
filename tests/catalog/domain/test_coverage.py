"""Coverage, against a model that asks each hour anew."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.domain.coverage import CoveredPoint, DayState, Gap, LeftOutDisk, assess, day_states
from storage.errors import Invalid, Limit

START = datetime(2026, 7, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def at(hours: float) -> datetime:
    """A moment, in hours behind the start."""
    return START + hours * HOUR


def point(hours: float, **other: object) -> CoveredPoint:
    """A complete point, changed as the test needs it."""
    return replace(CoveredPoint(uuid4(), at(hours), "complete"), **other)  # type: ignore[arg-type]


POINTS = st.lists(
    st.builds(
        lambda hour, result, left, verified, kept: CoveredPoint(
            restore_point_id=UUID(int=hour + 100),
            recorded_at=at(hour),
            result=result,
            left_out=left if result == "partial" else (),
            verified_result=verified,
            deleted_at=None if kept is None else at(hour + kept),
        ),
        st.integers(-60, 120),
        st.sampled_from(["complete", "complete", "partial"]),
        st.sampled_from([("a",), ("a", "b"), ()]),
        st.sampled_from([None, None, "ok", "damaged"]),
        st.sampled_from([None, None, 0, 1, 5, 500]),
    ),
    max_size=14,
)


@given(POINTS, st.integers(1, 40), st.none() | st.integers(-80, 120), st.sets(st.sampled_from("ab")))
def test_model(points: list[CoveredPoint], rpo: int, known: int | None, accepted: set[str]) -> None:
    """An hour lies in a gap that starts one RPO earlier exactly when no covering point of the RPO exists then."""
    end = 100
    report = assess(
        points,
        start=START,
        end=at(end),
        rpo=rpo * HOUR,
        known_since=None if known is None else at(known),
        accepted=accepted,
    )
    wrong = []
    for half in range(end):
        now = at(half + 0.5)
        begun = known is None or at(known) <= now
        fresh = any(
            p.recorded_at <= now <= p.recorded_at + rpo * HOUR
            and (p.deleted_at is None or p.deleted_at > now)
            and p.verified_result != "damaged"
            and (p.result == "complete" or (p.left_out and set(p.left_out) <= accepted))
            for p in points
        )
        young = known is not None and at(known) <= now <= at(known + rpo)
        if begun and not fresh and not young:
            wrong.append(now)
    assert [now for now in wrong if not any(gap.start <= now < gap.end for gap in report.gaps)] == []
    assert report.covered == (not wrong)
    assert all(START <= gap.start < gap.end <= at(end) for gap in report.gaps)
    assert all(one.end <= other.start for one, other in pairwise(report.gaps))
    assert all(any(gap.start <= now < gap.end for now in wrong) for gap in report.gaps)


@given(POINTS, st.randoms())
def test_order_does_not_matter(points: list[CoveredPoint], random: object) -> None:
    """The order in which points are given changes nothing."""
    shuffled = sorted(points, key=lambda _: random.random())  # type: ignore[attr-defined]
    asked = {"start": START, "end": at(100), "rpo": 24 * HOUR, "known_since": None}
    assert assess(points, **asked) == assess(shuffled, **asked)  # type: ignore[arg-type]


def test_gap_lies_between_the_points() -> None:
    """A gap goes from one covering point to the next, a gap of exactly the RPO is none."""
    points = [point(-2), point(22), point(46), point(80)]
    report = assess(points, start=START, end=at(104), rpo=DAY, known_since=at(-500))
    assert report.gaps == (Gap(at(46), at(80)),)
    assert report.points == 3
    assert not report.covered


def test_new_machine_has_one_rpo() -> None:
    """Time before a machine was first seen is not counted, and its first point is due one RPO later."""
    asked = {"start": START, "end": at(60), "rpo": DAY}
    assert assess([point(40)], known_since=at(16), **asked).covered  # type: ignore[arg-type]
    late = assess([point(41)], known_since=at(16), **asked)  # type: ignore[arg-type]
    assert late.gaps == (Gap(at(16), at(41)),)
    assert late.known_from == at(16)


def test_counts_and_left_out() -> None:
    """Partial, verified, damaged and deleted points of the period are told, those before it are not."""
    points = [
        point(-1, verified_result="ok"),
        point(1, result="partial", left_out=("data",)),
        point(2, verified_result="ok", deleted_at=at(60)),
        point(3, verified_result="damaged"),
    ]
    report = assess(points, start=START, end=at(20), rpo=DAY, known_since=None)
    assert (report.points, report.verified_points, report.damaged_points, report.deleted_points) == (3, 1, 1, 1)
    assert report.left_out == (LeftOutDisk("data", 1),)
    assert report.covered


def test_partial_covers_only_when_accepted() -> None:
    """A point without a disk covers only for those who said that this disk may be missing."""
    points = [point(1, result="partial", left_out=("data", "swap"))]
    asked = {"start": START, "end": at(20), "rpo": DAY, "known_since": at(-20)}
    assert assess(points, accepted=["data", "swap"], **asked).covered  # type: ignore[arg-type]
    assert not assess(points, accepted=["data"], **asked).covered  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("points", "state"),
    [
        ([], "missing"),
        ([point(1)], "present"),
        ([point(1), point(2, verified_result="ok")], "verified"),
        ([point(1, result="partial", left_out=("a",))], "partial"),
        ([point(1, result="partial", left_out=("a",), verified_result="ok")], "partial"),
        ([point(1, verified_result="damaged")], "damaged"),
        ([point(1, deleted_at=at(5), verified_result="ok")], "deleted"),
        ([point(1, deleted_at=at(5)), point(2, verified_result="damaged"), point(3)], "present"),
        ([point(25)], "missing"),
    ],
)
def test_day_state(points: list[CoveredPoint], state: DayState) -> None:
    """The best restore point of a day says what the day is."""
    assert day_states(points, START.date(), START.date())[0].state == state


def test_days_are_utc_and_whole() -> None:
    """Each day from the first to the last is there once, and a point belongs to its UTC day."""
    zone = datetime.fromisoformat("2026-07-02T01:00:00+02:00")
    days = day_states([CoveredPoint(uuid4(), zone, "complete")], date(2026, 7, 1), date(2026, 7, 3))
    assert [(day.day.day, day.state) for day in days] == [(1, "present"), (2, "missing"), (3, "missing")]


def test_bad_periods() -> None:
    """A period that ends before it starts, or an RPO of nothing, is refused."""
    for start, end, rpo in [(START, START, DAY), (START, at(1), 0 * DAY), (START.replace(tzinfo=None), at(1), DAY)]:
        with pytest.raises(Invalid, match=r"period|RPO"):
            assess([], start=start, end=end, rpo=rpo, known_since=None)
    with pytest.raises(Invalid):
        day_states([], date(2026, 7, 2), date(2026, 7, 1))
    with pytest.raises(Limit):
        day_states([], date(1900, 1, 1), date(2026, 7, 1))

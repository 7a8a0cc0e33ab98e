"""CatalogReads against plain Python over the events: random histories, scopes and positions."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from catalog.access.caller import EVERYTHING
from catalog.queries.reads import Asked
from storage.errors import NotFound
from tests.support.history import DIGESTS
from tests.support.read_world import FIRST, LAST, START, World, asked_and_naive, whole, world


def test_machines_and_disks_are_those_of_the_events(some: World) -> None:
    """Names, sizes and what is kept are as last seen at the position asked for."""
    for asked, naive in asked_and_naive(some):
        rows = some.reads.machines(asked).rows
        assert [row.machine_id for row in rows] == list(naive.machines)
        assert some.reads.scope_ids(asked.scope, asked.as_of) == (
            None if asked.scope.everything else frozenset(naive.machines)
        )
        for row in rows:
            position, seen = naive.machines[row.machine_id]
            points = naive.alive(row.machine_id)
            assert (row.source, row.name, row.key, row.position) == (seen.source, seen.name, seen.key, position)
            assert (row.disks, row.size_bytes) == (len(seen.disks), sum(disk.size_bytes for disk in seen.disks))
            assert row.excluded_disks == sum(disk.excluded_reason is not None for disk in seen.disks)
            assert row.restore_points == len(points)
            assert row.stored_bytes == sum(disk.stored_bytes for _, point in points for disk in point.disks)
            assert row.last_point_id == (points[-1][1].restore_point_id if points else None)
            assert row == some.reads.machine(asked, row.machine_id)
            disks = some.reads.disks(asked, row.machine_id).rows
            assert [(d.disk_id, d.label, d.size_bytes, d.present) for d in disks] == naive.disks_now(row.machine_id)


def test_restore_points_are_those_of_the_events(some: World) -> None:
    """Lists leave deleted points out, and what is known of a point is what was recorded by then."""
    for asked, naive in asked_and_naive(some):
        rows = whole(lambda one: some.reads.restore_points(one, newest_first=False), asked)
        assert [row.position for row in rows] == [position for position, _ in naive.alive()]
        newest = some.reads.restore_points(asked).rows
        assert list(newest) == rows[::-1]
        every = some.reads.restore_points(asked, include_deleted=True, newest_first=False).rows
        assert [row.position for row in every] == [position for position, _ in naive.points]
        for row, (_, event) in zip(every, naive.points, strict=True):
            assert row == some.reads.restore_point(asked, row.restore_point_id)
            assert (row.machine, row.result, row.taken_at) == (event.machine, event.result, event.taken_at)
            assert row.left_out_disks == tuple(disk.label for disk in event.left_out)
            left_out = some.reads.left_out(asked, row.restore_point_id)
            assert [disk.disk_id for disk in left_out] == [disk.disk_id for disk in event.left_out]
            check, tombstone = naive.verified.get(row.restore_point_id), naive.deleted.get(row.restore_point_id)
            assert (row.verified_result, row.verified_at) == (check and check.result, check and check.recorded_at)
            assert (row.deleted and row.deleted.reason) == (tombstone and tombstone.reason)
        for machine_id in naive.machines:
            mine = some.reads.restore_points(asked, machine_id=machine_id, newest_first=False).rows
            assert [row.position for row in mine] == [position for position, _ in naive.alive(machine_id)]


def test_points_are_chosen_by_time(some: World) -> None:
    """`since` is included, `until` is not; `valid_at` asks the claimed time and the time of deletion."""
    for asked, naive in asked_and_naive(some):
        at = START + timedelta(minutes=some.random.randint(0, 200))
        valid = some.reads.restore_points(asked, valid_at=at, newest_first=False).rows
        assert [row.restore_point_id for row in valid] == naive.valid(at)
        times = [event.recorded_at for _, event in naive.alive()]
        if len(times) > 2:
            since, until = times[1], times[-1]
            rows = some.reads.restore_points(asked, since=since, until=until, newest_first=False).rows
            assert [row.recorded_at for row in rows] == [time for time in times if since <= time < until]


def test_coverage_is_that_of_the_events(some: World) -> None:
    """The report and the grid are the pure functions' answers on what was known."""
    for asked, naive in asked_and_naive(some):
        grid = some.reads.coverage_grid(asked, first_day=FIRST, last_day=LAST).rows
        assert [row.machine_id for row in grid] == list(naive.machines)
        for row in grid:
            days = naive.days(row.machine_id, FIRST, LAST)
            assert [msgspec.to_builtins(day) for day in row.days] == [msgspec.to_builtins(day) for day in days]
            assert row.first_seen_at == some.reads.machine(asked, row.machine_id).first_seen_at
            period = {"start": START, "end": START + timedelta(hours=4), "rpo": timedelta(minutes=20)}
            found = some.reads.coverage(asked, row.machine_id, **period)  # type: ignore[arg-type]  # three options
            report = naive.coverage(row.machine_id, *period.values())  # type: ignore[arg-type]  # in this order
            assert (found.covered, found.points, found.known_from) == (report.covered, report.points, report.known_from)
            assert [(gap.start, gap.end) for gap in found.gaps] == [(gap.start, gap.end) for gap in report.gaps]


def test_events_are_those_of_the_log(some: World) -> None:
    """All, of a machine with its runs, of a restore point, of a scope; each way round, page by page."""
    for asked_all, naive in asked_and_naive(some):
        asked = replace(asked_all, limit=9)
        for turned in (False, True):
            rows = whole(lambda one, turned=turned: some.reads.events(one, newest_first=turned), asked)
            assert [row.position for row in rows] == naive.events()[:: -1 if turned else 1]
        for machine_id in list(naive.machines)[:2]:
            mine = whole(lambda one, of=machine_id: some.reads.events(one, machine_id=of), asked)
            assert [row.position for row in mine] == naive.events(machine_id)
        for _, event in naive.points[:2]:
            told = whole(lambda one, of=event.restore_point_id: some.reads.events(one, restore_point_id=of), asked)
            assert [row.position for row in told] == naive.events(point=event.restore_point_id)
        for topic in ("RunOpened", "MachineSeen/1"):
            some_rows = whole(lambda one, topic=topic: some.reads.events(one, topic=topic), asked)
            assert [row.position for row in some_rows] == [
                row.position for row in rows[::-1] if row.topic.startswith(topic)
            ]
        for position in range(1, some.reads.position + 1, 11):
            if position in naive.events():
                assert some.reads.event(asked, position).position == position
            else:
                with pytest.raises(NotFound):
                    some.reads.event(asked, position)


def test_status_and_search_are_those_of_the_events(some: World) -> None:
    """Counts are of the scope, at the position; a search finds names and beginnings of identifiers."""
    for asked, naive in asked_and_naive(some):
        status = some.reads.status(asked)
        alive = [event.restore_point_id for _, event in naive.alive()]
        results = [naive.verified[point].result for point in alive if point in naive.verified]
        assert (status.machines, status.restore_points) == (len(naive.machines), len(alive))
        assert status.deleted_points == len(naive.points) - len(alive)
        assert (status.verified_points, status.damaged_points) == (results.count("ok"), results.count("damaged"))
        unverified = [point for point in alive if point not in naive.verified]
        assert (status.oldest_unverified and status.oldest_unverified.restore_point_id) == (
            unverified[0] if unverified else None
        )
        assert status.never_backed_up == sum(not naive.alive(machine) for machine in naive.machines)
        assert {one.source: one.machines for one in status.failing_sources} == naive.failing()
        hits = some.reads.search(asked, "WEB").rows
        assert {hit.machine_id for hit in hits} == {
            key for key, (_, seen) in naive.machines.items() if "web" in f"{seen.source}/{seen.name}".casefold()
        }
        for point in alive[:3]:
            assert some.reads.find_point(asked, point.hex[:12]).restore_point_id == point
            assert str(point) in [hit.id for hit in some.reads.search(asked, point.hex[:6]).rows]
        if alive:
            assert some.reads.find_point(asked, "latest").restore_point_id == alive[-1]
        held = {digest for digest in DIGESTS if naive.written(digest)}
        assert {d for d in DIGESTS if some.reads.search(asked, d.hex()).rows} == held


def test_a_position_of_a_time_is_the_last_one_recorded_by_then(some: World) -> None:
    """Every event up to it was recorded at or before the time, the next one was not."""
    events = list(some.log.follow(0))
    for recorded in some.random.sample(events, 5):
        for when in (recorded.event.recorded_at, recorded.event.recorded_at - timedelta(microseconds=1)):
            later = [one.position for one in events if one.event.recorded_at > when]
            assert some.reads.position_at(when) == (min(later) - 1 if later else events[-1].position)


def test_names_are_data(tmp_path: Path) -> None:
    """Control characters in names come out as they went in: who shows them must clean them."""
    with world(tmp_path, 1, steps=8) as made:
        guest = made.history.guests[0]
        guest.name = "x\x1b]0;pwned\x07\u202e"
        made.history.see(guest)
        made.go_on(1)
        assert made.reads.machine(Asked(EVERYTHING), guest.machine_id).name == guest.name
        assert made.reads.search(Asked(EVERYTHING), "\x1b]0").rows[0].machine_id == guest.machine_id

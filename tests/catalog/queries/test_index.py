"""The read side's questions: the index and the log alone give the same answers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from uuid import UUID

import pytest

from catalog.domain.events import BackupStarted, RestorePointVerified
from catalog.log import EventLog
from catalog.projections import TABLES, Projector
from catalog.queries.directory import LogDirectory
from catalog.queries.index import Index
from storage.errors import Invalid, NotFound
from storage.lake import Lake
from tests.support.recorded import CHUNK_BYTES, Author, Change, rows_at


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EventLog]:
    """Two machines; `web` has three restore points of one disk, the last a full; `db` has none."""
    with EventLog.create(tmp_path / "events.sqlite") as opened:
        author = Author(opened)
        web = author.machine("web")
        author.machine("db", ("vda", "vdb"), source="other")
        for number in (1, 2, 3):
            author.backup(web, {"vda": Change(rows_at(range(number), number), full=number == 3)})
        yield opened


@pytest.fixture
def index(log: EventLog, tmp_path: Path) -> Iterator[Index]:
    """The index of that log."""
    with closing(Lake.create(tmp_path / "index", TABLES)) as lake:
        Projector(log, lake).catch_up()
        with Index(lake) as opened:
            yield opened


def test_machines_are_listed_with_what_is_kept_of_them(index: Index) -> None:
    """Counts and sizes of each machine, also of one without restore points."""
    web, db = index.machines()
    assert (web.name, web.source, web.disks, web.restore_points) == ("web", "lab", 1, 3)
    assert (web.last_result, web.size_bytes) == ("complete", 64 * CHUNK_BYTES)
    assert (db.name, db.disks, db.restore_points, db.last_point_at) == ("db", 2, 0, None)
    assert index.find_machine("other/db") == db


def test_restore_points_come_in_order_newest_last(index: Index) -> None:
    """All, or those of one machine."""
    points = index.restore_points()
    assert [point.position for point in points] == sorted(point.position for point in points)
    web, db = index.machines()
    assert index.restore_points(web.machine_id) == points
    assert index.restore_points(db.machine_id) == []
    assert index.restore_point(points[1].restore_point_id) == points[1]
    assert index.find_point(points[2].restore_point_id.hex[:10]) == points[2].restore_point_id


def test_a_disk_says_how_many_points_it_is_made_of(index: Index) -> None:
    """A chain ends at its full."""
    chains = [index.disks(point.restore_point_id)[0] for point in index.restore_points()]
    assert [(disk.level, disk.seq, disk.chain_points) for disk in chains] == [
        ("full", 1, 1),
        ("incremental", 2, 2),
        ("full", 3, 1),
    ]


def test_events_are_read_page_by_page(index: Index, log: EventLog) -> None:
    """Pages follow each other without a gap; a machine's pages have its runs' events and no others."""
    everything = index.events(limit=1000)
    assert [event.position for event in everything] == list(range(1, log.position() + 1))
    assert index.events(after=3, limit=2) == everything[3:5]
    web, db = index.machines()
    assert [event.topic for event in index.events(machine_id=db.machine_id)] == ["MachineSeen/1"]
    of_web = index.events(machine_id=web.machine_id)
    assert {event.topic for event in of_web} >= {"ChunksRecorded/1", "RestorePointCommitted/2", "RunOpened/1"}
    assert len(of_web) == len(everything) - 1
    for limit in (0, 1001):
        with pytest.raises(Invalid):
            index.events(limit=limit)


def test_what_is_not_there_is_not_found(index: Index, log: EventLog) -> None:
    """Unknown restore points are errors on both ways."""
    for answer in (index.restore_point, LogDirectory(log).point):
        with pytest.raises(NotFound):
            answer(UUID(int=1))
    assert index.disks(UUID(int=1)) == []


def test_the_log_alone_knows_the_same(index: Index, log: EventLog) -> None:
    """Without an index, machines and restore points are the same ones."""
    directory = LogDirectory(log)
    assert [state.name for state in directory.machines()] == ["web", "db"]
    assert directory.points() == [point.restore_point_id for point in index.restore_points()]
    for point in index.restore_points():
        found = directory.point(point.restore_point_id)
        assert (found.machine_id, found.run_id) == (point.machine_id, point.run_id)
        assert [disk.seq for disk in found.disks] == [disk.seq for disk in index.disks(point.restore_point_id)]


def test_the_directory_reads_on_where_it_stopped(log: EventLog) -> None:
    """A directory that was asked before answers with what came later too."""
    directory = LogDirectory(log)
    before = len(directory.points())
    author = Author(log)
    machine_id = directory.machines()[1].machine_id
    added = author.backup(machine_id, {"vdb": Change(rows_at(range(3), 5))})
    assert directory.points()[before:] == [added]
    assert directory.point(added).machine_id == machine_id


def test_a_verification_shows_on_its_point(log: EventLog, tmp_path: Path) -> None:
    """The last verification is part of what is said about a restore point."""
    author = Author(log)
    point = LogDirectory(log).points()[0]
    run = author.run_id()
    author.save(run, BackupStarted, machine_id=run, source="lab", machine="x", label="l", full_requested=False)
    for result in ("damaged", "ok"):
        author.save(
            point,
            RestorePointVerified,
            machine_id=UUID(int=1),
            level="content",
            result=result,
            chunks=1,
            checked_bytes=1,
            problems=(),
        )
    with closing(Lake.create(tmp_path / "lake", TABLES)) as lake:
        Projector(log, lake).catch_up()
        with Index(lake) as index:
            shown = index.restore_point(point)
    assert (shown.verified_level, shown.verified_result) == ("content", "ok")

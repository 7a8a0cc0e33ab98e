"""What the command line lists: the index and the log alone give the same answers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from uuid import UUID

import pytest

from catalog.access.caller import EVERYTHING
from catalog.domain.events import BackupStarted, RestorePointVerified
from catalog.log import EventLog
from catalog.projections import TABLES, Projector
from catalog.queries.directory import LogDirectory
from catalog.queries.reads import Asked, CatalogReads
from catalog.queries.rows import PointRow
from catalog.resolve.from_lake import LakeRows
from catalog.resolve.resolver import Resolver
from storage.errors import NotFound
from storage.lake import Lake
from tests.support.recorded import CHUNK_BYTES, Author, Change, rows_at

EVERY = Asked(EVERYTHING, limit=1000)


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
def index(log: EventLog, tmp_path: Path) -> Iterator[CatalogReads]:
    """The index of that log."""
    with closing(Lake.create(tmp_path / "index", TABLES)) as lake:
        Projector(log, lake).catch_up()
        yield CatalogReads(lake, Resolver(LakeRows(lake)))


def listed(index: CatalogReads, machine_id: UUID | None = None) -> list[PointRow]:
    """The restore points, the newest last."""
    return list(index.restore_points(EVERY, machine_id=machine_id, newest_first=False).rows)


def test_machines_are_listed_with_what_is_kept_of_them(index: CatalogReads) -> None:
    """Counts and sizes of each machine, also of one without restore points."""
    web, db = index.machines(EVERY).rows
    assert (web.name, web.source, web.disks, web.restore_points) == ("web", "lab", 1, 3)
    assert (web.last_result, web.size_bytes) == ("complete", 64 * CHUNK_BYTES)
    assert (db.name, db.disks, db.restore_points, db.last_point_at) == ("db", 2, 0, None)
    assert index.find_machine(EVERY, "other/db") == db


def test_restore_points_come_in_order_newest_last(index: CatalogReads) -> None:
    """All, or those of one machine."""
    points = listed(index)
    assert [point.position for point in points] == sorted(point.position for point in points)
    web, db = index.machines(EVERY).rows
    assert listed(index, web.machine_id) == points
    assert listed(index, db.machine_id) == []
    assert index.restore_point(EVERY, points[1].restore_point_id) == points[1]
    assert index.find_point(EVERY, points[2].restore_point_id.hex[:10]) == points[2]


def test_a_disk_says_how_many_points_it_is_made_of(index: CatalogReads) -> None:
    """A chain ends at its full."""
    chains = [index.point_disks(EVERY, point.restore_point_id).rows[0] for point in listed(index)]
    assert [(disk.level, disk.seq, disk.chain_points) for disk in chains] == [
        ("full", 1, 1),
        ("incremental", 2, 2),
        ("full", 3, 1),
    ]


def test_events_are_read_page_by_page(index: CatalogReads, log: EventLog) -> None:
    """Pages follow each other without a gap; a machine's pages have its runs' events and no others."""
    everything = index.events(EVERY).rows
    assert [event.position for event in everything] == list(range(1, log.position() + 1))
    assert index.events(Asked(EVERYTHING, after=(3,), limit=2)).rows == everything[3:5]
    web, db = index.machines(EVERY).rows
    assert [event.topic for event in index.events(EVERY, machine_id=db.machine_id).rows] == ["MachineSeen/1"]
    of_web = index.events(EVERY, machine_id=web.machine_id).rows
    assert {event.topic for event in of_web} >= {"ChunksRecorded/1", "RestorePointCommitted/2", "RunOpened/1"}
    assert len(of_web) == len(everything) - 1


def test_what_is_not_there_is_not_found(index: CatalogReads, log: EventLog) -> None:
    """Unknown restore points are errors on both ways."""
    for answer in (lambda point: index.restore_point(EVERY, point), LogDirectory(log).point):
        with pytest.raises(NotFound):
            answer(UUID(int=1))
    with pytest.raises(NotFound):
        index.point_disks(EVERY, UUID(int=1))


def test_the_log_alone_knows_the_same(index: CatalogReads, log: EventLog) -> None:
    """Without an index, machines and restore points are the same ones."""
    directory = LogDirectory(log)
    assert [state.name for state in directory.machines()] == ["web", "db"]
    assert directory.points() == [point.restore_point_id for point in listed(index)]
    for point in listed(index):
        found = directory.point(point.restore_point_id)
        assert (found.machine_id, found.run_id) == (point.machine_id, point.run_id)
        assert [disk.seq for disk in found.disks] == [
            disk.seq for disk in index.point_disks(EVERY, point.restore_point_id).rows
        ]


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
        shown = CatalogReads(lake, Resolver(LakeRows(lake))).restore_point(EVERY, point)
    assert (shown.verified_level, shown.verified_result) == ("content", "ok")

"""The projector: exactly once, whatever stops it, and never a row of a run that no restore point cites."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import numpy as np
import pytest

from catalog.domain.events import (
    RestorePointCommitted,
    RestorePointDeleted,
    RestorePointVerified,
    SnapshotCreated,
    SnapshotReleased,
    SnapshotReleaseFailed,
    SnapshotReleaseRequested,
    SnapshotRequested,
)
from catalog.log import EventLog
from catalog.projections import TABLES, Projector, rebuild
from catalog.projections.blocks import rows_of
from catalog.projections.lock import LOCK_NAME, held
from catalog.projections.sheets import Sheets
from catalog.projections.tables import CHUNK_REFS
from catalog.projections.upkeep import COMPACT_FILES, KEEP_NEWEST, wanted
from catalog.sealed import sealed_batches
from storage.chunks.rows import ZeroRuns
from storage.errors import Conflict, Corrupt
from storage.lake import Lake
from storage.lake.catalog import LakeSnapshot
from storage.lake.read import read_file
from tests.support.recorded import CHUNK_BYTES, Author, Change, rows_at

ROOT = Path(__file__).parents[3]


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EventLog]:
    """An empty log."""
    with EventLog.create(tmp_path / "events.sqlite") as opened:
        yield opened


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Lake]:
    """An empty index."""
    with closing(Lake.create(tmp_path / "index", TABLES)) as opened:
        yield opened


def extents(count: int) -> Any:
    """Extents of 1 MiB, every third one zero."""
    starts = np.arange(count, dtype=np.uint64) * (1 << 20)
    return starts, np.full(count, 1 << 20, np.uint64), np.arange(count) % 3 == 2


def record_history(author: Author) -> list[UUID]:
    """Two machines, fulls, incrementals, zero runs, a run that never committed, snapshots, a verification."""
    web, db = author.machine("web", ("vda", "vdb")), author.machine("db")
    zeros = ZeroRuns(np.array([3, 50], np.uint32), np.array([4, 14], np.uint32))
    points = [
        author.backup(web, {"vda": Change(rows_at(range(64), 1), extents=extents(12)), "vdb": Change()}),
        author.backup(db, {"vda": Change(rows_at(range(0, 64, 2), 2))}),
    ]
    author.backup(db, {"vda": Change(rows_at(range(60), 99), extents=extents(5))}, commit=False)
    points.append(author.backup(web, {"vda": Change(rows_at(range(10, 40), 3), zeros), "vdb": Change()}))
    points.append(author.backup(db, {"vda": Change(rows_at(range(7), 4), full=True)}))
    run = author.run_id()
    about = {"machine_id": web, "label": "holdfast-1"}
    author.save(run, SnapshotRequested, **about, disks=(), consistency="application")
    author.save(run, SnapshotCreated, **about, consistency="crash", fallback_cause="no-agent")
    author.save(run, SnapshotReleaseRequested, **about, committed=True)
    author.save(run, SnapshotReleaseFailed, **about, code="busy", why="it is in use")
    author.save(run, SnapshotReleased, **about)
    author.save(
        points[0],
        RestorePointVerified,
        machine_id=web,
        level="content",
        result="damaged",
        chunks=64,
        checked_bytes=64 * CHUNK_BYTES,
        problems=("pack 1 is gone",),
    )
    about = {"actor": "alice", "rule": "manual", "reason": "too old", "kept_for": (points[2],)}
    author.save(web, RestorePointDeleted, restore_point_id=points[0], **about)
    return points


def contents(lake: Lake) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of all tables, in an order that does not depend on files."""
    return {
        table.name: sorted(
            (tuple(row.values()) for batch in lake.read(table.name) for row in batch.to_pylist()), key=repr
        )
        for table in TABLES
    }


def test_every_table_gets_its_rows(log: EventLog, lake: Lake) -> None:
    """One row an event, one a version of a thing, one a block; zero runs become extents."""
    record_history(Author(log))
    assert Projector(log, lake).catch_up() == log.position()
    counts = {table: len(rows) for table, rows in contents(lake).items()}
    assert counts == {
        "machines": 2,
        "disks": 3,
        "snapshots": 5,
        "extents": 12 + 2,
        "chunks": 64 + 32 + 30 + 7,
        "chunk_refs": 64 + 32 + 30 + 7,
        "disk_points": 6,
        "restore_points": 4,
        "deletions": 1,
        "verifications": 1,
        "events": log.position(),
    }


def test_chunk_rows_are_what_was_recorded(log: EventLog, lake: Lake) -> None:
    """Digest, pack, offset and length of each block reach the index unchanged."""
    author = Author(log)
    rows = rows_at(range(5, 60, 3), 8)
    author.backup(author.machine("web"), {"vda": Change(rows)})
    Projector(log, lake).catch_up()
    found = [row for batch in lake.read("chunks") for row in batch.to_pylist()]
    assert [row["block"] for row in found] == rows.blocks.tolist()
    assert [row["digest"] for row in found] == [digest.tobytes() for digest in rows.digests]
    assert [row["pack_id"] for row in found] == [rows.packs[index].hex() for index in rows.pack_index]
    assert [row["pack_offset"] for row in found] == rows.offsets.tolist()
    assert [row["stored_bytes"] for row in found] == rows.stored.tolist()


def test_zero_runs_end_with_the_disk(log: EventLog, lake: Lake) -> None:
    """The run that covers a short last block is not longer than the disk."""
    author = Author(log)
    runs = ZeroRuns(np.array([1], np.uint32), np.array([3], np.uint32))
    point = author.disk(author.run_id(), UUID(int=1), Change(zeros=runs, blocks=4))
    short = msgspec.structs.replace(point, size_bytes=900_000)
    (batch,) = sealed_batches(log, point)
    table, rows = rows_of(short, batch)
    (row,) = rows.to_pylist()
    assert (table, row["start_bytes"], row["length_bytes"]) == ("extents", CHUNK_BYTES, 900_000 - CHUNK_BYTES)
    assert row["kind"] == "stored_zero"


def test_rows_of_a_run_appear_with_its_restore_point(log: EventLog, lake: Lake) -> None:
    """A run that was interrupted leaves events in the index, and no rows, however often the projector runs."""
    author = Author(log)
    machine_id = author.machine("web")
    author.backup(machine_id, {"vda": Change(rows_at(range(30), 1), extents=extents(9))}, commit=False)
    projector = Projector(log, lake)
    projector.catch_up()
    for table in ("chunks", "extents", "disk_points", "restore_points"):
        assert not lake.plan(table)
    author.backup(machine_id, {"vda": Change(rows_at(range(3), 2))})
    projector.catch_up()
    assert [batch.num_rows for batch in lake.read("chunks")] == [3]
    assert len(contents(lake)["events"]) == log.position()


def test_rebuilt_is_row_for_row_what_grew(log: EventLog, lake: Lake, tmp_path: Path) -> None:
    """An index that was caught up event by event holds the same rows as one projected in one go."""
    author = Author(log, batch_rows=10)
    projector = Projector(log, lake, commit_bytes=1)
    for _ in range(2):
        record_history(author)
        projector.catch_up()
    grown = contents(lake)
    lake.close()
    with closing(rebuild(log, tmp_path / "index", clock=lambda: datetime.now(UTC))) as rebuilt:
        assert rebuilt.position() == log.position()
        assert contents(rebuilt) == grown


def test_killed_again_and_again_every_row_is_there_once(log: EventLog, lake: Lake, tmp_path: Path) -> None:
    """SIGKILL between files, before and after commits: what is in the end there is what one clean run gives."""
    author = Author(log, batch_rows=20)
    for _ in range(4):
        record_history(author)
    moments = [("before-commit", 1), ("after-commit", 1), *(("fsync", nth) for nth in (1, 6, 17, 40))]
    positions = []
    for moment, time in [*moments, ("after-commit", 2)]:
        killed = _project_in_a_process(tmp_path, moment, time)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        positions.append(lake.position())
    assert positions == sorted(positions)
    assert len(set(positions)) > 3
    finished = _project_in_a_process(tmp_path, "never", 0)
    assert int(finished.stdout) == log.position()
    with closing(Lake.create(tmp_path / "clean", TABLES)) as clean:
        Projector(log, clean).catch_up()
        assert contents(lake) == contents(clean)
    once = Counter(row[0] for row in contents(lake)["events"])
    assert once == Counter(range(1, log.position() + 1))


def _project_in_a_process(root: Path, moment: str, time: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.support.die_projecting", str(root), moment, str(time)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)


def test_two_projectors_at_once_share_the_work(log: EventLog, lake: Lake, tmp_path: Path) -> None:
    """Several processes that catch up together leave each row once."""
    record_history(Author(log))
    command = [sys.executable, "-m", "tests.support.die_projecting", str(tmp_path), "never", "0"]
    started = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert [int(process.communicate(timeout=60)[0]) for process in started] == [log.position()] * 3
    assert Counter(row[0] for row in contents(lake)["events"]) == Counter(range(1, log.position() + 1))


def test_while_another_projects_the_index_is_read_as_it_is(log: EventLog, lake: Lake, tmp_path: Path) -> None:
    """Without the lock a projector gives up soon and says where the index is; with it, it goes on."""
    author = Author(log)
    author.machine("web")
    projector = Projector(log, lake, wait_seconds=0)
    with held(tmp_path / "index" / LOCK_NAME, 0) as mine:
        assert mine
        assert projector.catch_up() == 0
    assert projector.catch_up() == 1


def test_a_projector_that_was_overtaken_stops(log: EventLog, lake: Lake) -> None:
    """When the index moves under a projector, it adds nothing and says so."""
    author = Author(log)
    for name in ("a", "b", "c"):
        author.machine(name)

    def overtake(position: int, _: int) -> None:
        lake.commit([], expected=position, position=position + 1)

    with pytest.raises(Conflict) as caught:
        Projector(log, lake, commit_bytes=1).catch_up(overtake)
    assert caught.value.code == "stale-projector"
    assert [row[0] for row in contents(lake)["events"]] == [1]


def test_an_index_ahead_of_its_log_is_refused(log: EventLog, lake: Lake) -> None:
    """An index of another or a longer log is not extended."""
    lake.commit([], expected=0, position=5)
    with pytest.raises(Conflict) as caught:
        Projector(log, lake).catch_up()
    assert caught.value.code == "index-ahead"


def test_rows_that_do_not_verify_never_enter(log: EventLog, lake: Lake) -> None:
    """A restore point whose batches are not the sealed ones stops the projector in front of it."""
    author = Author(log)
    machine_id = author.machine("web")
    run = UUID(int=77)
    author.run_id = lambda: run  # type: ignore[method-assign]  # the test must know the run
    author.backup(machine_id, {"vda": Change(rows_at(range(4), 1))}, commit=False)
    Projector(log, lake).catch_up()
    before = lake.position()
    author._last.clear()
    real = author.disk

    def lying(run: UUID, disk: UUID, change: Change) -> Any:
        point = real(UUID(int=78), disk, change)
        return msgspec.structs.replace(point, merkle_root=bytes(32))

    author.disk = lying  # type: ignore[method-assign]  # to seal what is not there
    author.run_id = lambda: UUID(int=78)  # type: ignore[method-assign]  # another run
    author.backup(machine_id, {"vda": Change(rows_at(range(4), 1))})
    with pytest.raises(Corrupt) as caught:
        Projector(log, lake).catch_up()
    assert caught.value.code == "batches-not-sealed"
    assert lake.position() == before
    assert not lake.plan("chunks")


def test_small_files_are_merged_on_the_way(log: EventLog, lake: Lake) -> None:
    """Many small catch-ups do not leave as many files, and the rows stay the same."""
    author = Author(log)
    machine_id = author.machine("web")
    projector = Projector(log, lake)
    for salt in range(COMPACT_FILES + 2):
        author.backup(machine_id, {"vda": Change(rows_at(range(5), salt))})
        projector.catch_up()
    assert len(lake.plan("chunks")) < 5
    assert len(contents(lake)["chunks"]) == 5 * (COMPACT_FILES + 2)


def test_a_large_point_never_has_all_its_keys_in_memory(log: EventLog, lake: Lake) -> None:
    """Rows beyond the bound go to files of their own, each in order, in the same commit; none is lost or doubled."""
    author = Author(log, batch_rows=100)
    author.backup(author.machine("web"), {"vda": Change(rows_at(range(2_000), 1), blocks=4_000)})
    sheets = Sheets(lake, 1, keep_bytes=20_000)
    for recorded in log.follow():
        if isinstance(recorded.event, RestorePointCommitted):
            for batch in sealed_batches(log, recorded.event.disks[0]):
                sheets.collect("chunk_refs", rows_of(recorded.event.disks[0], batch)[1])
    files = sheets.close(log.position())
    assert len(files) > 3
    assert max(file.rows for file in files) * 50 < 30_000
    lake.commit(files, expected=0, position=log.position())
    for file in lake.plan("chunk_refs"):
        digests = [row["digest"] for batch in read_file(file, CHUNK_REFS, ["digest"], {}) for row in batch.to_pylist()]
        assert digests == sorted(digests)
    found = [tuple(row.values()) for batch in lake.read("chunk_refs", ["seq", "block"]) for row in batch.to_pylist()]
    assert sorted(found) == [(1, block) for block in range(2_000)]


def test_old_snapshots_are_forgotten_by_and_by() -> None:
    """The newest stay whatever their age; before them one an hour for a day, one a day for 90 days."""
    now = datetime(2026, 6, 1, 12, tzinfo=UTC)
    old = [
        datetime(2025, 12, 1, tzinfo=UTC),
        datetime(2026, 5, 1, 8, tzinfo=UTC),
        datetime(2026, 5, 1, 23, tzinfo=UTC),
        datetime(2026, 6, 1, 2, 10, tzinfo=UTC),
        datetime(2026, 6, 1, 2, 50, tzinfo=UTC),
    ]
    new = [now - timedelta(seconds=KEEP_NEWEST - number) for number in range(KEEP_NEWEST)]
    snapshots = [LakeSnapshot(number, when, number, "") for number, when in enumerate([*old, *new])]
    assert wanted(snapshots, now) == {2, 4, *range(len(old), len(snapshots))}
    assert wanted(snapshots[:3], now) == {0, 1, 2}


def test_every_column_says_what_it_means() -> None:
    """No table and no column without a comment."""
    for table in TABLES:
        assert table.comment
        for column in table.columns:
            assert column.comment, f"{table.name}.{column.name}"

"""Commits: exactly once, all tables or none, and safe against kill -9."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from storage.errors import Conflict, Corrupt, HoldfastError, Invalid
from storage.lake import Lake
from tests.support.lake import SPECS, Clock, add, all_rows, blocks, fill, notes


def test_a_stale_projector_stops(lake: Lake) -> None:
    """Only the committer that knows the last position goes on; the other changes nothing."""
    with lake.writer("notes") as one, lake.writer("notes") as two:
        one.write(notes(1, [1]))
        two.write(notes(1, [2]))
        first, second = one.close(), two.close()
    lake.commit([first], expected=0, position=5)
    with pytest.raises(Conflict) as error:
        lake.commit([second], expected=0, position=6)
    assert error.value.code == "stale-projector"
    assert (lake.position(), len(all_rows(lake, "notes")), len(lake.snapshots())) == (5, 1, 2)


def test_a_commit_moves_forward(lake: Lake) -> None:
    """A position may be passed without rows, and never again."""
    assert lake.commit([], expected=0, position=3) == 2
    with pytest.raises(Invalid):
        lake.commit([], expected=3, position=3)
    assert lake.position() == 3


def test_files_are_cited_once(lake: Lake) -> None:
    """The same file cannot be committed twice, and the failed commit leaves the position."""
    with lake.writer("notes") as writer:
        writer.write(notes(1, [1]))
        file = writer.close()
    lake.commit([file], expected=0, position=1)
    with pytest.raises(Conflict) as error:
        lake.commit([file], expected=1, position=2)
    assert (error.value.code, lake.position()) == ("lake-conflict", 1)


def test_a_file_that_is_gone_is_not_cited(lake: Lake, root: Path) -> None:
    """A commit fails as a whole when one of its files is not there."""
    with lake.writer("notes") as one, lake.writer("blocks", 3) as two:
        one.write(notes(1, [1]))
        two.write(blocks(3, "disk-a", 1, [1]))
        files = [one.close(), two.close()]
    (root / "data" / "main" / "blocks" / files[1].path).unlink()
    with pytest.raises(Conflict) as error:
        lake.commit(files, expected=0, position=1)
    assert (error.value.code, all_rows(lake, "notes")) == ("lake-file-lost", [])


def test_time_never_runs_backwards(lake: Lake, clock: Clock) -> None:
    """Snapshot times ascend although the clock was set back."""
    fill(lake, 2)
    clock.now = clock.now.replace(year=2025)
    fill(lake, 2)
    times = [s.at for s in lake.snapshots()]
    assert times == sorted(times)


def test_a_snapshot_without_position_is_refused(lake: Lake) -> None:
    """When another program made the newest snapshot, no position is made up."""
    fill(lake, 1)
    lake.catalog.rows("UPDATE ducklake_snapshot_changes SET commit_extra_info = NULL WHERE snapshot_id = 2")
    with pytest.raises(Corrupt) as error:
        lake.commit([], expected=1, position=2)
    assert error.value.code == "lake-foreign-snapshot"


def _race(root: Path, name: str, commits: int, results: multiprocessing.Queue[list[int]]) -> None:
    lake = Lake.open(root, SPECS)
    won = []
    while (position := lake.position()) < commits:
        with lake.writer("notes") as writer:
            writer.write(notes(position + 1, [position]))
            file = writer.close()
        try:
            lake.commit([file], expected=position, position=position + 1, message=name)
        except Conflict as error:
            if error.code != "stale-projector":
                raise
        else:
            won.append(position + 1)
    results.put(won)


def test_two_processes_win_each_position_once(lake: Lake, root: Path) -> None:
    """Two committers that race for the same positions commit each exactly once."""
    context = multiprocessing.get_context("spawn")
    results: multiprocessing.Queue[list[int]] = context.Queue()
    racers = [context.Process(target=_race, args=(root, name, 60, results)) for name in "ab"]
    for racer in racers:
        racer.start()
    won = [results.get(timeout=60) for _ in racers]
    for racer in racers:
        racer.join(60)
    assert [racer.exitcode for racer in racers] == [0, 0]
    assert sorted(won[0] + won[1]) == list(range(1, 61))
    assert sorted(row["seq"] for row in all_rows(lake, "notes")) == list(range(1, 61))  # type: ignore[type-var]  # integers


_LOOP = """
import sys
from pathlib import Path
from storage.lake import Lake
from tests.support.lake import SPECS, fill
lake = Lake.open(Path(sys.argv[1]), SPECS)
print("open", flush=True)
while True:
    fill(lake, 1)
    print(lake.position(), flush=True)
    if lake.position() % 5 == 0:
        lake.compact("notes", min_files=2)
        lake.expire_snapshots([])
"""


@pytest.mark.timeout(120)
def test_kill_at_any_moment_leaves_the_last_commit(lake: Lake, root: Path) -> None:
    """After kill -9 in a loop of commits and compactions, all that was acknowledged is there, and whole."""
    lake.close()
    dice = random.Random(11)
    for _ in range(6):
        child = subprocess.Popen(
            [sys.executable, "-c", _LOOP, str(root)], stdout=subprocess.PIPE, text=True, env=_import_path()
        )
        assert child.stdout is not None
        assert child.stdout.readline() == "open\n"
        time.sleep(dice.uniform(0.02, 0.25))
        os.kill(child.pid, signal.SIGKILL)
        told = [int(line) for line in child.stdout.read().split("\n")[:-1]]
        child.wait()
        child.stdout.close()
        with_lock = Lake.open(root, SPECS)
        try:
            position = with_lock.position()
            assert position >= max(told, default=0)
            assert list(with_lock.verify()) == []
            assert sorted({row["seq"] for row in all_rows(with_lock, "notes")}) == list(range(1, position + 1))  # type: ignore[type-var]  # integers
            assert len(all_rows(with_lock, "blocks")) == 25 * position
        finally:
            with_lock.close()


def _import_path() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[3])}


def test_ids_and_counts_are_as_the_specification_wants(lake: Lake) -> None:
    """Next ids lie past all ids, row ids do not overlap, table statistics cover the files'."""
    fill(lake, 3)
    add(lake, 4, ("notes", None, notes(4, [0, 3])))
    rows = lake.catalog.rows
    assert rows("SELECT next_file_id FROM ducklake_snapshot ORDER BY 1 DESC LIMIT 1") == [(10,)]
    starts = rows("SELECT row_id_start, record_count FROM ducklake_data_file WHERE table_id = 1 ORDER BY 1")
    assert starts == [(0, 6), (6, 6), (12, 6), (18, 2)]
    assert rows("SELECT record_count, next_row_id FROM ducklake_table_stats WHERE table_id = 1") == [(20, 20)]
    whole = rows(
        "SELECT min_value, max_value, contains_null FROM ducklake_table_column_stats WHERE table_id = 1"
        " AND column_id = 3"
    )
    assert whole == [("dïsk 010", "dïsk 035", 1)]
    extra = rows("SELECT commit_extra_info FROM ducklake_snapshot_changes ORDER BY snapshot_id DESC LIMIT 1")
    assert json.loads(extra[0][0]) == {"position": 4}


def test_a_locked_catalog_is_unavailable(lake: Lake, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A committer that cannot get the write lock says so and can try again."""
    monkeypatch.setattr("storage.lake.catalog.BUSY_SECONDS", 0.05)
    other = Lake.open(root, SPECS)
    try:
        with lake.catalog.transaction(), pytest.raises(HoldfastError) as error:
            other.commit([], expected=0, position=1)
        assert error.value.code == "lake-busy"
        other.commit([], expected=0, position=1)
    finally:
        other.close()

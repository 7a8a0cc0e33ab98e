"""Compaction, expiry and cleaning keep every row of every kept snapshot, whatever happens between."""

from __future__ import annotations

import os
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from storage.errors import Conflict, Corrupt, NotFound
from storage.lake import Lake
from storage.lake import compact as compaction
from tests.support.lake import SPECS, Clock, add, all_rows, blocks, data_files, fill, notes

HOUR = timedelta(hours=1)


def key(rows: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """Rows in an order of their own."""
    return sorted((r["part"], r["disk"], r["seq"], r["block"], r["digest"]) for r in rows)


def test_compaction_sorts_and_keeps_position_and_past(lake: Lake) -> None:
    """Small files become one a part, sorted, at the same position; older snapshots read as before."""
    for position in range(1, 7):
        disks = [blocks(3, f"disk-{d}", position, range(5)) for d in "ba"]
        add(
            lake,
            position,
            ("blocks", 3, disks[0]),
            ("blocks", 3, disks[1]),
            ("blocks", 4, blocks(4, "c", position, [1])),
        )
    before = {s.id: key(all_rows(lake, "blocks", snapshot=s.id)) for s in lake.snapshots()}
    report = lake.compact("blocks", min_files=6)
    assert (report.replaced, report.written, report.rows) == (18, 2, 66)
    assert [file.rows for file in lake.plan("blocks")] == [60, 6]
    rows = all_rows(lake, "blocks", where={"part": (3, 3)})
    assert rows == sorted(rows, key=lambda r: (r["disk"], r["seq"], r["block"]))
    assert (lake.position(), lake.snapshots()[-1].position) == (6, 6)
    assert {s: key(all_rows(lake, "blocks", snapshot=s)) for s in before} == before
    assert key(all_rows(lake, "blocks")) == before[7]
    assert lake.plan("blocks")[0].path.name.startswith("000000000001-000000000006-")


def test_compaction_waits_until_it_pays(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few files, full files, and one that outweighs the rest are left alone."""
    fill(lake, 7)
    assert lake.compact("blocks", min_files=8).replaced == 0
    fill(lake, 1)
    assert lake.compact("blocks", min_files=8).replaced == 16
    add(lake, 9, ("blocks", 3, blocks(3, "disk-a", 9, [1])))
    assert lake.compact("blocks", min_files=2).replaced == 0
    monkeypatch.setattr(compaction, "TARGET_ROWS", 24)
    assert lake.compact("notes", min_files=2).written == 2
    assert lake.compact("notes", min_files=2).replaced == 0


def test_a_damaged_file_stops_compaction(lake: Lake, root: Path) -> None:
    """Damage is not merged into a new file with a good seal."""
    fill(lake, 4)
    victim = lake.plan("notes")[2].path
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 1
    victim.write_bytes(data)
    files = data_files(root)
    with pytest.raises(Corrupt):
        lake.compact("notes", min_files=2)
    assert (data_files(root), len(lake.plan("notes"))) == (files, 4)


def test_the_slower_compaction_gives_up(lake: Lake, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When another compaction replaced the same files first, nothing is doubled and no file is left."""
    fill(lake, 4)
    merge = compaction._merge

    def slow(*args: Any) -> Any:
        monkeypatch.setattr(compaction, "_merge", merge)
        merged = merge(*args)
        lake.compact("notes", min_files=2)
        return merged

    monkeypatch.setattr(compaction, "_merge", slow)
    with pytest.raises(Conflict) as error:
        lake.compact("notes", min_files=2)
    assert (error.value.code, len(all_rows(lake, "notes"))) == ("stale-compaction", 24)
    assert len([path for path in data_files(root) if "notes" in path.parts]) == 5


def test_expiry_keeps_what_it_is_told_and_the_newest(lake: Lake) -> None:
    """Forgotten snapshots are not found, kept ones read on, and the newest cannot be forgotten."""
    fill(lake, 6)
    report = lake.expire_snapshots([3, 999])
    assert (report.snapshots, report.files) == (5, 0)
    assert [(s.id, s.position) for s in lake.snapshots()] == [(3, 2), (7, 6)]
    with pytest.raises(NotFound):
        lake.plan("notes", snapshot=4)
    assert len(all_rows(lake, "notes", snapshot=3)) == 12


def test_expired_bytes_go_after_the_grace(lake: Lake, root: Path, clock: Clock) -> None:
    """Files of forgotten snapshots stay for readers until the grace is over, and then go once."""
    fill(lake, 4)
    lake.compact("notes", min_files=2)
    assert lake.expire_snapshots([]).files == 4
    count = len(data_files(root))
    assert lake.delete_scheduled(HOUR).files == 0
    assert lake.clean_orphans(timedelta(days=-1)).files == 0
    clock.now += 2 * HOUR
    report = lake.delete_scheduled(HOUR)
    assert (report.files, len(data_files(root))) == (4, count - 4)
    assert (lake.delete_scheduled(HOUR).files, list(lake.verify())) == (0, [])


def test_nothing_outside_the_lake_is_deleted(lake: Lake, root: Path, clock: Clock) -> None:
    """A path in the deletion list that leaves the data folder is refused."""
    outside = root / "precious"
    outside.write_bytes(b"x")
    lake.catalog.rows("INSERT INTO ducklake_files_scheduled_for_deletion VALUES (1, '../precious', 1, '2020')")
    with pytest.raises(Corrupt):
        lake.delete_scheduled(HOUR)
    assert outside.exists()


def age(path: Path, by: timedelta, clock: Clock) -> None:
    """Let a file look last changed `by` before the lake's clock."""
    at = (clock.now - by).timestamp()
    os.utime(path, (at, at))


def test_orphans_go_after_the_grace_and_cited_files_never(lake: Lake, root: Path, clock: Clock) -> None:
    """Only old files that no snapshot cites are removed."""
    fill(lake, 2)
    files = []
    for number in (1, 2):
        with lake.writer("notes") as writer:
            writer.write(notes(1, [number]))
            files.append(root / "data" / "main" / "notes" / writer.close().path)
    for path in data_files(root):
        age(path, 2 * HOUR, clock)
    age(files[1], timedelta(minutes=5), clock)
    report = lake.clean_orphans(HOUR)
    assert (report.files, files[0].exists(), files[1].exists()) == (1, False, True)
    assert list(lake.verify()) == []


def test_a_file_being_written_is_no_orphan(lake: Lake, root: Path, clock: Clock) -> None:
    """However old it looks, a file stays while its writer lives."""
    with lake.writer("notes") as writer:
        writer.write(notes(1, [1]))
        writer._flush(1)
        (path,) = data_files(root)
        age(path, 100 * HOUR, clock)
        assert lake.clean_orphans(HOUR).files == 0
        file = writer.close()
    lake.commit([file], expected=0, position=1)
    assert len(all_rows(lake, "notes")) == 1


def test_a_commit_too_late_for_its_files_fails(lake: Lake, root: Path, clock: Clock) -> None:
    """A file cleaned away between its writing and its commit is never cited."""
    with lake.writer("notes") as writer:
        writer.write(notes(1, [1]))
        file = writer.close()
    age(data_files(root)[0], 2 * HOUR, clock)
    assert lake.clean_orphans(HOUR).files == 1
    with pytest.raises(Conflict) as error:
        lake.commit([file], expected=0, position=1)
    assert (error.value.code, lake.position()) == ("lake-file-lost", 0)


class LakeAgainstLists(RuleBasedStateMachine):
    """Random commits, compactions, expiries and reopenings against a dict of lists, at every snapshot."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.root = Path(self.folder.name) / "index"
        self.clock = Clock()
        self.clock.now = datetime.now(UTC)
        self.lake = Lake.create(self.root, SPECS, clock=self.clock)
        self.model: dict[int, list[tuple[Any, ...]]] = {1: []}

    def teardown(self) -> None:
        self.lake.close()
        self.folder.cleanup()

    @rule(
        writes=st.lists(st.tuples(st.integers(0, 2), st.sets(st.integers(0, 50), min_size=1, max_size=5)), max_size=3)
    )
    def commit(self, writes: list[tuple[int, set[int]]]) -> None:
        position = self.lake.position() + 1
        tables = [blocks(part, f"disk-{part}", position, sorted(numbers)) for part, numbers in writes]
        new = [row for table in tables for row in table.to_pylist()]
        files = [("blocks", part, table) for (part, _), table in zip(writes, tables, strict=True)]
        last = self.model[max(self.model)]
        self.model[add(self.lake, position, *files)] = sorted(last + key(new))

    @rule(min_files=st.integers(2, 4))
    def compact(self, min_files: int) -> None:
        last = max(self.model)
        self.lake.compact("blocks", min_files=min_files)
        for snapshot in self.lake.snapshots():
            if snapshot.id > last:
                self.model[snapshot.id] = self.model[last]

    @precondition(lambda self: len(self.model) > 3)
    @rule(data=st.data())
    def expire(self, data: st.DataObject) -> None:
        keep = data.draw(st.sets(st.sampled_from(sorted(self.model))))
        self.lake.expire_snapshots(keep)
        self.model = {id: rows for id, rows in self.model.items() if id in {*keep, max(self.model)}}

    @rule()
    def clean(self) -> None:
        self.clock.now += 2 * HOUR
        self.lake.delete_scheduled(HOUR)
        self.lake.clean_orphans(HOUR)

    @rule()
    def reopen(self) -> None:
        self.lake.close()
        self.lake = Lake.open(self.root, SPECS, clock=self.clock)

    @invariant()
    def every_snapshot_is_as_the_lists(self) -> None:
        assert [s.id for s in self.lake.snapshots()] == sorted(self.model)
        for id, rows in self.model.items():
            assert key(all_rows(self.lake, "blocks", snapshot=id)) == rows
        counted = self.lake.catalog.rows("SELECT record_count FROM ducklake_table_stats WHERE table_id = 3")
        assert counted == [(len(self.model[max(self.model)]),)]


LakeAgainstLists.TestCase.settings = settings(max_examples=12, stateful_step_count=15, deadline=None)
TestLakeAgainstLists = LakeAgainstLists.TestCase
TestLakeAgainstLists.__doc__ = "At every snapshot the lake holds what a plain list would."

"""The reference implementation, in a process of its own, sees the lake as we do."""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from storage.errors import Corrupt
from storage.lake import Lake
from tests.support import lake_readers
from tests.support.lake import SPECS, all_rows, data_files, fill

pytestmark = pytest.mark.skipif(lake_readers.missing() is not None, reason=lake_readers.missing() or "")

ROWS = {
    "blocks": "SELECT part, disk, seq, block, digest, stored FROM blocks",
    "notes": "SELECT id, seq, disk, CAST(epoch_us(seen_at) AS BIGINT), good, raw FROM notes",
}


def ours(lake: Lake, table: str, snapshot: int | None = None) -> list[list[Any]]:
    """Rows as JSON would bring them, in an order of their own."""
    rows = [list(row.values()) for row in all_rows(lake, table, snapshot=snapshot)]
    return ordered([[_plain(value) for value in row] for row in rows])


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"hex": value.hex()}
    return round(value.timestamp() * 1_000_000) if hasattr(value, "timestamp") else value


def ordered(rows: list[list[Any]]) -> list[list[Any]]:
    """Rows in an order that does not depend on who returned them."""
    return sorted(rows, key=repr)


def test_rows_types_and_comments_are_the_same(lake: Lake, root: Path) -> None:
    """The extension reads all our rows, types, nullability and comments."""
    fill(lake, 6)
    blocks, notes, types, tables, columns = lake_readers.ask(
        lake.catalog.path,
        [
            ROWS["blocks"],
            ROWS["notes"],
            'SELECT column_name, column_type, "null" FROM (DESCRIBE notes)',
            "SELECT table_name, comment FROM duckdb_tables() WHERE database_name = 'lake' ORDER BY 1",
            "SELECT column_name, comment FROM duckdb_columns()"
            " WHERE database_name = 'lake' AND comment IS NOT NULL ORDER BY 1",
        ],
    )
    assert ordered(blocks) == ours(lake, "blocks")
    assert ordered(notes) == ours(lake, "notes")
    assert types == [
        ["id", "UBIGINT", "NO"],
        ["seq", "INTEGER", "NO"],
        ["disk", "VARCHAR", "YES"],
        ["seen_at", "TIMESTAMP WITH TIME ZONE", "YES"],
        ["good", "BOOLEAN", "YES"],
        ["raw", "BLOB", "YES"],
    ]
    assert tables == [["blocks", "Blocks of disks"], ["notes", "Remarks of all kinds"]]
    assert columns == [["block", "Number of the block"], ["disk", "The disk"], ["part", "Partition"]]


def test_an_empty_lake_reads_as_empty(lake: Lake) -> None:
    """A lake without commits is already one that the extension reads."""
    answer = lake_readers.ask(lake.catalog.path, ["SELECT count(*) FROM blocks", "SELECT min(id) FROM notes"])
    assert answer == [[[0]], [[None]]]


def test_every_snapshot_is_there_with_its_position(lake: Lake) -> None:
    """Time travel by version returns what our reader returns, and snapshots show the log position."""
    fill(lake, 5)
    snapshots = lake.snapshots()
    asked = [f"{ROWS['blocks']} AT (VERSION => {s.id})" for s in snapshots]
    *found, told = lake_readers.ask(
        lake.catalog.path,
        [*asked, "SELECT snapshot_id, commit_extra_info FROM ducklake_snapshots('lake') WHERE snapshot_id > 0"],
    )
    assert [ordered(rows) for rows in found] == [ours(lake, "blocks", s.id) for s in snapshots]
    assert told == [[s.id, f'{{"position": {s.position}}}'] for s in snapshots]


def test_our_statistics_prune_for_the_extension(lake: Lake) -> None:
    """Filters on partition, integer and text columns make the extension read only the files that may match."""
    fill(lake, 20)
    filters = ["part = 5 AND seq BETWEEN 3 AND 4", "disk = 'disk-a' AND seq = 7", "seq > 19", "part = 9"]
    asked = [f"EXPLAIN ANALYZE SELECT count(block) FROM blocks WHERE {text}" for text in filters]  # noqa: S608 - our own text
    plans = lake_readers.ask(lake.catalog.path, asked)
    assert [_files_read(plan[0][1]) for plan in plans] == [2, 1, 2, 0]


def _files_read(plan: str) -> int:
    if "Total Files Read" not in plan:
        return 0
    return int(plan.split("Total Files Read:")[1].split(maxsplit=1)[0])


def test_filters_at_the_edges_lose_no_row(lake: Lake) -> None:
    """Bounds past 63 bits, text with accents, times and booleans prune without losing rows."""
    fill(lake, 4)
    rows = all_rows(lake, "notes")
    big = max(row["id"] for row in rows if isinstance(row["id"], int))
    answers = lake_readers.ask(
        lake.catalog.path,
        [
            f"SELECT count(*) FROM notes WHERE id = {big}::UBIGINT",  # noqa: S608 - our own number
            "SELECT count(*) FROM notes WHERE disk = 'dïsk 011'",
            "SELECT count(*) FROM notes WHERE seen_at = TIMESTAMPTZ '2026-01-02 00:00:00.000011+00'",
            "SELECT count(*) FROM notes WHERE seen_at IS NULL",
            "SELECT count(*) FROM notes WHERE NOT good",
        ],
    )
    nulls = sum(row["seen_at"] is None for row in rows)
    bad = sum(row["good"] is False for row in rows)
    assert [answer[0][0] for answer in answers] == [1, 1, 1, nulls, bad]


def test_compaction_expiry_and_cleaning_change_nothing_it_sees(lake: Lake, clock: Any) -> None:
    """After merging, expiring and deleting, the extension reads the kept snapshots as before."""
    fill(lake, 10)
    before = {id: ours(lake, "blocks", id) for id in (6, 11)}
    for table in ("blocks", "notes"):
        assert lake.compact(table, min_files=2).replaced
    lake.expire_snapshots([6])
    clock.now += timedelta(hours=2)
    assert lake.delete_scheduled(timedelta(hours=1)).files
    found = lake_readers.ask(
        lake.catalog.path,
        [f"{ROWS['blocks']} AT (VERSION => 6)", ROWS["blocks"], ROWS["notes"]],
    )
    assert [ordered(rows) for rows in found] == [before[6], before[11], ours(lake, "notes")]


def test_the_extension_can_go_on_writing_in_a_copy(lake: Lake, tmp_path: Path) -> None:
    """Our ids and statistics are consistent enough for the extension to insert, delete, alter and merge."""
    fill(lake, 3)
    copy = tmp_path / "copy"
    shutil.copytree(lake.catalog.path.parent, copy)
    moved = Lake.open(copy, SPECS)
    moved.close()
    insert = "INSERT INTO blocks SELECT part, disk, 99, block, digest, stored FROM blocks WHERE seq = 2"
    answer = lake_readers.ask(
        copy / "lake.sqlite",
        [
            insert,
            "INSERT INTO notes (id, seq) SELECT 500 + i, 7 FROM range(200) t(i)",
            "SELECT count(*), count(DISTINCT rowid), max(seq) FROM blocks",
            "DELETE FROM blocks WHERE seq = 99",
            "ALTER TABLE notes ADD COLUMN more INTEGER",
            "SELECT count(*), sum(id), count(more) FROM notes",
            "SELECT count(*) FROM blocks",
            "CALL ducklake_merge_adjacent_files('lake')",
            "SELECT count(*) FROM blocks",
            "SELECT count(*) FROM blocks AT (VERSION => 2)",
        ],
    )
    rows, note_ids = len(all_rows(lake, "blocks")), [row["id"] for row in all_rows(lake, "notes")]
    assert answer[2] == [[rows + 25, rows + 25, 99]]
    assert answer[5][0][0] == len(note_ids) + 200
    assert (answer[6], answer[8], answer[9]) == ([[rows]], [[rows]], [[25]])
    assert not {path.parent for path in data_files(copy)} - {
        copy / "data" / "main" / name for name in ("notes", "blocks/part=3", "blocks/part=5")
    }


def test_a_lake_that_another_program_wrote_to_is_refused(lake: Lake) -> None:
    """Rows that Holdfast did not write are neither returned nor built upon."""
    fill(lake, 2)
    lake_readers.ask(lake.catalog.path, ["INSERT INTO notes (id, seq) VALUES (1, 1)"])
    with pytest.raises(Corrupt) as position:
        lake.position()
    with pytest.raises(Corrupt) as rows:
        all_rows(lake, "notes")
    assert (position.value.code, rows.value.code) == ("lake-foreign-snapshot", "lake-foreign-rows")

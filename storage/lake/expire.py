"""Forgetting: snapshots that no policy keeps, then files that no snapshot cites, then their bytes, after a grace.

May import the modules of this package. The newest snapshot always stays. Files are unlinked under the catalog's
write lock, so that no commit can cite a file in the moment it goes; readers are protected by the grace period.
"""

from __future__ import annotations

import fcntl
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from storage.errors import Corrupt
from storage.lake.catalog import Catalog
from storage.lake.values import time_text

CLEAN_BATCH = 256


@dataclass(frozen=True, slots=True)
class ExpireReport:
    """How many snapshots were forgotten, and how many files lost their last snapshot and are scheduled to go."""

    snapshots: int
    files: int


@dataclass(frozen=True, slots=True)
class CleanReport:
    """How many files were removed, and their bytes."""

    files: int
    size_bytes: int


def expire_snapshots(catalog: Catalog, keep: Collection[int]) -> ExpireReport:
    """Forget all snapshots but `keep` and the newest, and schedule the files only they could see for deletion."""
    with catalog.transaction() as head:
        kept = {0, head.snapshot, *keep}
        doomed = [row for row in catalog.rows("SELECT snapshot_id FROM ducklake_snapshot") if row[0] not in kept]
        catalog.many("DELETE FROM ducklake_snapshot WHERE snapshot_id = ?", doomed)
        catalog.many("DELETE FROM ducklake_snapshot_changes WHERE snapshot_id = ?", doomed)
        catalog.rows("CREATE TEMP TABLE holdfast_dead AS " + _DEAD)
        catalog.rows(
            "INSERT INTO ducklake_files_scheduled_for_deletion SELECT data_file_id,"
            " 'main/' || table_name || '/' || path, 1, ? FROM holdfast_dead",
            (time_text(catalog.clock()),),
        )
        for table in _BY_FILE:
            catalog.rows(f"DELETE FROM {table} WHERE data_file_id IN (SELECT data_file_id FROM holdfast_dead)")  # noqa: S608 - our own table names
        files = int(catalog.rows("SELECT count(*) FROM holdfast_dead")[0][0])
        catalog.rows("DROP TABLE holdfast_dead")
    return ExpireReport(len(doomed), files)


_DEAD = """
SELECT f.data_file_id, t.table_name, f.path FROM ducklake_data_file f JOIN ducklake_table t USING (table_id)
WHERE f.end_snapshot IS NOT NULL AND NOT EXISTS (
    SELECT 1 FROM ducklake_snapshot s WHERE s.snapshot_id >= f.begin_snapshot AND s.snapshot_id < f.end_snapshot)
"""
_BY_FILE = (
    "ducklake_data_file",
    "ducklake_file_column_stats",
    "ducklake_file_partition_value",
    "holdfast_file_seal",
)


def delete_scheduled(catalog: Catalog, grace: timedelta) -> CleanReport:
    """Remove the files that were scheduled for deletion longer than `grace` ago."""
    files = size = 0
    with catalog.transaction():
        due = catalog.rows(
            "SELECT data_file_id, path FROM ducklake_files_scheduled_for_deletion"
            " WHERE path_is_relative = 1 AND schedule_start <= ?",
            (time_text(catalog.clock() - grace),),
        )
        for _, name in due:
            path = catalog.data / name
            if ".." in path.parts or not path.is_relative_to(catalog.data):
                raise Corrupt(f"the index wants {name} deleted, which is not its own", code="lake-catalog")
            if path.exists():
                files, size = files + 1, size + path.stat().st_size
                path.unlink()
        catalog.many("DELETE FROM ducklake_files_scheduled_for_deletion WHERE data_file_id = ? AND path = ?", due)
    return CleanReport(files, size)


def clean_orphans(catalog: Catalog, grace: timedelta) -> CleanReport:
    """Remove files that no snapshot cites and nobody writes, last changed longer than `grace` ago.

    A file between its writer's `close` and the commit is such a file: let `grace` be longer than that takes.
    A commit that comes too late fails with Conflict "lake-file-lost".
    """
    files = size = 0
    before = catalog.clock() - grace
    old = sorted(path for path in catalog.data.rglob("*.parquet") if _changed_at(path) < before)
    for begin in range(0, len(old), CLEAN_BATCH):
        with catalog.transaction():
            for path in old[begin : begin + CLEAN_BATCH]:
                if not _cited(catalog, path) and (removed := _remove_unless_written(path)) is not None:
                    files, size = files + 1, size + removed
    return CleanReport(files, size)


def _changed_at(path: Path) -> datetime:
    return datetime.fromtimestamp(path.stat().st_mtime, UTC)


def _cited(catalog: Catalog, path: Path) -> bool:
    name = path.relative_to(catalog.data).as_posix()
    table, _, inside = name.removeprefix("main/").partition("/")
    sql = (
        "SELECT EXISTS (SELECT 1 FROM ducklake_data_file JOIN ducklake_table t USING (table_id)"
        " WHERE t.table_name = ? AND ducklake_data_file.path = ?)"
        " OR EXISTS (SELECT 1 FROM ducklake_files_scheduled_for_deletion WHERE path = ?)"
    )
    return bool(catalog.rows(sql, (table, inside, name))[0][0])


def _remove_unless_written(path: Path) -> int | None:
    """Remove a file unless its writer holds its lock; return its size."""
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return None
        size = path.stat().st_size
        path.unlink()
    return size

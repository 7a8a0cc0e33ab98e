"""Making files visible: one transaction adds a snapshot, the files of all tables and their statistics.

May import the modules of this package. Exactly once: a commit names the position it builds on, and fails with
Conflict when the lake is not there any more. A file is stat-ed under the same lock that orphan cleaning takes,
so a cited file exists.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from storage.errors import Conflict, Invalid
from storage.lake.catalog import Catalog, Head
from storage.lake.parquet import ColumnStats, DataFile
from storage.lake.values import order_key, time_text


def commit_files(catalog: Catalog, files: Sequence[DataFile], expected: int, position: int, message: str) -> int:
    """Add `files` and move the lake from log position `expected` to `position`; return the snapshot's id."""
    if position <= expected:
        raise Invalid(f"a commit moves forward, not from {expected} to {position}", code="bad-position")
    with catalog.transaction() as head:
        if head.position != expected:
            raise Conflict(
                f"the index is at position {head.position}, not {expected}",
                code="stale-projector",
                why="another projector committed",
                hint="read the position again and continue from there",
            )
        tables = sorted({catalog.ids[file.table].table for file in files})
        changes = ",".join(f"inserted_into_table:{table}" for table in tables)
        snapshot = add_snapshot(catalog, head, len(files), changes, message, position)
        add_files(catalog, head, snapshot, files)
    return snapshot


def add_snapshot(catalog: Catalog, head: Head, new_files: int, changes: str, message: str, position: int) -> int:
    """Add the next snapshot inside the caller's transaction; its time never runs backwards."""
    at = max(time_text(catalog.clock()), head.at)
    snapshot = head.snapshot + 1
    catalog.rows(
        "INSERT INTO ducklake_snapshot VALUES (?, ?, ?, ?, ?)",
        (snapshot, at, head.schema_version, head.next_catalog_id, head.next_file_id + new_files),
    )
    extra = json.dumps({"position": position})
    catalog.rows(
        "INSERT INTO ducklake_snapshot_changes VALUES (?, ?, 'holdfast', ?, ?)", (snapshot, changes, message, extra)
    )
    return snapshot


def add_files(catalog: Catalog, head: Head, snapshot: int, files: Sequence[DataFile]) -> None:
    """Cite `files` from `snapshot` on, inside the caller's transaction. Raises Conflict when one is gone."""
    for file_id, file in enumerate(files, start=head.next_file_id):
        _check_exists(catalog, file)
        ids = catalog.ids[file.table]
        row_ids = catalog.rows("SELECT next_row_id FROM ducklake_table_stats WHERE table_id = ?", (ids.table,))
        catalog.rows(
            "INSERT INTO ducklake_data_file"
            " VALUES (?, ?, ?, NULL, NULL, ?, 1, 'parquet', ?, ?, ?, ?, ?, NULL, NULL, NULL)",
            (
                *(file_id, ids.table, snapshot, file.path, file.rows, file.size_bytes, file.footer_bytes),
                *(row_ids[0][0], ids.partition),
            ),
        )
        catalog.rows("INSERT INTO holdfast_file_seal VALUES (?, ?)", (file_id, file.seal))
        catalog.many(
            "INSERT INTO ducklake_file_column_stats VALUES (?, ?, ?, ?, ?, ?, ?, ?, NULL, NULL)",
            [
                (file_id, ids.table, ids.columns[s.column], s.size_bytes, s.values, s.nulls, s.lo, s.hi)
                for s in file.stats
            ],
        )
        if file.part is not None:
            catalog.rows(
                "INSERT INTO ducklake_file_partition_value VALUES (?, ?, 0, ?)", (file_id, ids.table, str(file.part))
            )
        catalog.rows(
            "UPDATE ducklake_table_stats SET record_count = record_count + ?, next_row_id = next_row_id + ?,"
            " file_size_bytes = file_size_bytes + ? WHERE table_id = ?",
            (file.rows, file.rows, file.size_bytes, ids.table),
        )
    for table in {file.table for file in files}:
        _widen_table(catalog, table, [s for file in files if file.table == table for s in file.stats])


def _check_exists(catalog: Catalog, file: DataFile) -> None:
    path = catalog.folder(file.table) / file.path
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        size = -1
    if size != file.size_bytes:
        raise Conflict(
            f"{path} is not what its writer left",
            code="lake-file-lost",
            why="it was cleaned away as an orphan, or changed" if size < 0 else f"{size} bytes",
            hint="build the file again",
        )


def _widen_table(catalog: Catalog, table: str, stats: Sequence[ColumnStats]) -> None:
    """Let the table's own statistics cover the new files; a bound once unknown stays so."""
    ids, spec = catalog.ids[table], catalog.spec(table)
    rows = catalog.rows(
        "SELECT column_id, contains_null, min_value, max_value FROM ducklake_table_column_stats WHERE table_id = ?",
        (ids.table,),
    )
    known = {row[0]: row[1:] for row in rows}
    for stat in stats:
        column, kind = ids.columns[stat.column], spec.column(stat.column).type
        old = known.get(column)
        bounds: list[str | None] = [stat.lo, stat.hi]
        if old is not None and stat.values:
            both = ((old[1], stat.lo), (old[2], stat.hi))
            pick = (min, max)
            bounds = [
                None if None in pair else choose(pair, key=lambda text: order_key(kind, text))
                for choose, pair in zip(pick, both, strict=True)
            ]
        elif old is not None:
            bounds = [old[1], old[2]]
        known[column] = (int(stat.nulls > 0 or bool(old and old[0])), *bounds)
    catalog.rows("DELETE FROM ducklake_table_column_stats WHERE table_id = ?", (ids.table,))
    catalog.many(
        "INSERT INTO ducklake_table_column_stats VALUES (?, ?, ?, NULL, ?, ?, NULL)",
        [(ids.table, column, *row) for column, row in known.items()],
    )

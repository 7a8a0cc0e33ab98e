"""Creating a lake: all tables, their columns, order, partitions and comments, in one file that appears whole.

May import the modules of this package. Column ids run on over all tables: unique in the lake, because a known
reader joins partition columns by column id alone.
"""

from __future__ import annotations

import json
import os
import sqlite3
import uuid
from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import count
from pathlib import Path

from storage.errors import Conflict
from storage.lake.ddl import DUCKLAKE_VERSION, HOLDFAST_FORMAT, OURS, TABLES
from storage.lake.files import make_folder, sync_folder
from storage.lake.tables import TableSpec
from storage.lake.values import time_text

Random = Callable[[int], bytes]


def create_catalog(path: Path, specs: Sequence[TableSpec], at: datetime, random: Random) -> None:
    """Create the catalog file at `path`. Raises Conflict when there is one."""
    make_folder(path.parent / "data")
    draft = path.with_name(f"{path.name}.{random(8).hex()}.new")
    try:
        db = sqlite3.connect(draft, isolation_level=None)
        try:
            db.execute("PRAGMA synchronous=FULL")
            db.executescript(f"BEGIN;{TABLES}{OURS}")
            _describe(db, path, specs, time_text(at), random)
            db.execute("COMMIT")
            db.execute("PRAGMA journal_mode=WAL")
        finally:
            db.close()
        os.link(draft, path)
    except FileExistsError:
        raise Conflict(f"there is an index at {path}", code="lake-exists") from None
    finally:
        draft.unlink(missing_ok=True)
    sync_folder(path.parent)


def _describe(db: sqlite3.Connection, path: Path, specs: Sequence[TableSpec], at: str, random: Random) -> None:
    metadata = {
        "version": DUCKLAKE_VERSION,
        "created_by": "Holdfast",
        "data_path": f"{os.path.abspath(path.parent / 'data')}/",
        "encrypted": "false",
    }
    db.executemany("INSERT INTO ducklake_metadata VALUES (?, ?, NULL, NULL)", metadata.items())
    db.execute("INSERT INTO holdfast_format VALUES (?)", (HOLDFAST_FORMAT,))
    db.execute(
        "INSERT INTO ducklake_schema VALUES (0, ?, 0, NULL, 'main', 'main/', 1)", (str(uuid.UUID(bytes=random(16))),)
    )
    catalog_ids, column_ids = count(1), count(1)
    for spec in specs:
        _describe_table(db, spec, str(uuid.UUID(bytes=random(16))), catalog_ids, column_ids)
    created = ",".join(f'created_table:"main"."{spec.name}"' for spec in specs)
    db.executemany(
        "INSERT INTO ducklake_snapshot VALUES (?, ?, ?, ?, 0)", [(0, at, 0, 1), (1, at, 1, next(catalog_ids))]
    )
    db.executemany(
        "INSERT INTO ducklake_snapshot_changes VALUES (?, ?, 'holdfast', ?, ?)",
        [(0, 'created_schema:"main"', None, None), (1, created, "create", json.dumps({"position": 0}))],
    )


def _describe_table(
    db: sqlite3.Connection, spec: TableSpec, table_uuid: str, catalog_ids: count[int], column_ids: count[int]
) -> None:
    table = next(catalog_ids)
    db.execute(
        "INSERT INTO ducklake_table VALUES (?, ?, 1, NULL, 0, ?, ?, 1)",
        (table, table_uuid, spec.name, f"{spec.name}/"),
    )
    db.execute("INSERT INTO ducklake_schema_versions VALUES (1, 1, ?)", (table,))
    db.execute("INSERT INTO ducklake_table_stats VALUES (?, 0, 0, 0)", (table,))
    if spec.comment:
        db.execute("INSERT INTO ducklake_tag VALUES (?, 1, NULL, 'comment', ?)", (table, spec.comment))
    ids: dict[str, int] = {}
    for order, column in enumerate(spec.columns, start=1):
        ids[column.name] = next(column_ids)
        db.execute(
            "INSERT INTO ducklake_column VALUES (?, 1, NULL, ?, ?, ?, ?, NULL, 'NULL', ?, NULL, 'literal', 'duckdb')",
            (ids[column.name], table, order, column.name, column.type, int(column.nullable)),
        )
        if column.comment:
            db.execute(
                "INSERT INTO ducklake_column_tag VALUES (?, ?, 1, NULL, 'comment', ?)",
                (table, ids[column.name], column.comment),
            )
    if spec.partition:
        partition = next(catalog_ids)
        db.execute("INSERT INTO ducklake_partition_info VALUES (?, ?, 1, NULL)", (partition, table))
        db.execute(
            "INSERT INTO ducklake_partition_column VALUES (?, ?, 0, ?, 'identity')",
            (partition, table, ids[spec.partition]),
        )
    if spec.sort:
        sort = next(catalog_ids)
        db.execute("INSERT INTO ducklake_sort_info VALUES (?, ?, 1, NULL)", (sort, table))
        for index, name in enumerate(spec.sort):
            db.execute(
                "INSERT INTO ducklake_sort_expression VALUES (?, ?, ?, ?, 'duckdb', 'ASC', 'NULLS_LAST')",
                (sort, table, index, name),
            )

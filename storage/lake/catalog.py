"""The catalog database: connection, transactions, its head, and which ids tables and columns have.

May import `storage.errors` and the modules of this package. WAL and synchronous=FULL: a transaction that
returned is durable, one that did not leaves nothing. One value may be used from several threads.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from storage.errors import Conflict, Corrupt, HoldfastError, Invalid, Limit, NotFound, Unavailable
from storage.lake.ddl import DUCKLAKE_VERSION, HOLDFAST_FORMAT
from storage.lake.tables import TableSpec
from storage.lake.values import parse_time

BUSY_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class LakeSnapshot:
    """One state of all tables: the whole index at one log position; `at` is aware UTC."""

    id: int
    at: datetime
    position: int
    message: str


@dataclass(frozen=True, slots=True)
class TableIds:
    """A table's ids in the catalog; `columns` by name are also the Parquet field ids."""

    table: int
    columns: dict[str, int]
    partition: int | None


@dataclass(frozen=True, slots=True)
class Head:
    """The newest snapshot's row, as the next one needs it."""

    snapshot: int
    at: str
    schema_version: int
    next_catalog_id: int
    next_file_id: int
    position: int


class Catalog:
    """An open catalog. `data` is where the tables' folders are, whatever path the catalog was created under."""

    def __init__(self, path: Path, specs: Sequence[TableSpec], clock: Callable[[], datetime]) -> None:
        self.path = path
        self.data = path.parent / "data"
        self.clock = clock
        self.specs = {spec.name: spec for spec in specs}
        self._lock = threading.RLock()
        self._db = connect(path)
        try:
            check_version(self)
            self.ids = {spec.name: load_ids(self, spec) for spec in specs}
        except BaseException:
            self._db.close()
            raise

    def spec(self, table: str) -> TableSpec:
        """Return a table's description. Raises Invalid when the lake has no such table."""
        if table not in self.specs:
            raise Invalid(f"the index has no table {table!r}", code="unknown-table")
        return self.specs[table]

    def folder(self, table: str) -> Path:
        """Return the folder that file paths of a table are relative to."""
        return self.data / "main" / table

    def rows(self, sql: str, args: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Run one statement and return its rows."""
        with self._lock, _translated(self.path):
            return self._db.execute(sql, args).fetchall()

    def many(self, sql: str, args: Iterator[tuple[object, ...]] | Sequence[tuple[object, ...]]) -> None:
        """Run one statement for each tuple of arguments."""
        with self._lock, _translated(self.path):
            self._db.executemany(sql, args)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Let several statements see one state, whatever others commit meanwhile."""
        with self._lock:
            self.rows("BEGIN")
            try:
                yield
            finally:
                self.rows("COMMIT")

    @contextmanager
    def transaction(self) -> Iterator[Head]:
        """Hold the write lock, commit at the end, roll back on any exception; yields the head found inside."""
        with self._lock:
            self.rows("BEGIN IMMEDIATE")
            try:
                yield self.head()
                self.rows("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.rollback()
                raise

    def head(self) -> Head:
        """Return the newest snapshot. Raises Corrupt when another program wrote it: it names no position."""
        row = self.rows(
            "SELECT snapshot_id, snapshot_time, schema_version, next_catalog_id, next_file_id, commit_extra_info"
            " FROM ducklake_snapshot LEFT JOIN ducklake_snapshot_changes USING (snapshot_id)"
            " ORDER BY snapshot_id DESC LIMIT 1"
        )
        if not row:
            raise Corrupt("the index's catalog has no snapshot", code="lake-catalog", hint="rebuild the index")
        snapshot, at, schema_version, next_catalog_id, next_file_id, extra = row[0]
        return Head(snapshot, at, schema_version, next_catalog_id, next_file_id, position_in(snapshot, extra))

    def snapshots(self) -> list[LakeSnapshot]:
        """Return all snapshots that were not expired, oldest first, but for the one before tables existed."""
        rows = self.rows(
            "SELECT snapshot_id, snapshot_time, commit_extra_info, commit_message FROM ducklake_snapshot"
            " JOIN ducklake_snapshot_changes USING (snapshot_id) WHERE snapshot_id > 0 ORDER BY snapshot_id"
        )
        return [LakeSnapshot(r[0], parse_time(r[1]), position_in(r[0], r[2]), r[3] or "") for r in rows]

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._db.close()


def position_in(snapshot: int, extra: str | None) -> int:
    """Return the log position a snapshot stands for. Raises Corrupt when it names none."""
    try:
        position = json.loads(extra or "")["position"]
    except (ValueError, KeyError, TypeError):
        position = None
    if type(position) is not int or position < 0:
        raise Corrupt(
            f"snapshot {snapshot} of the index names no log position",
            code="lake-foreign-snapshot",
            why="a program other than Holdfast changed the index",
            hint="rebuild the index from the event log",
        )
    return position


def connect(path: Path) -> sqlite3.Connection:
    """Open the catalog file; it must exist."""
    if not path.is_file():
        raise NotFound(f"no index at {path}", code="lake-missing", hint="rebuild the index")
    db = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        with _translated(path):
            mode = db.execute("PRAGMA journal_mode=WAL").fetchone()[0]
            db.execute("PRAGMA synchronous=FULL")
            durable = db.execute("PRAGMA synchronous").fetchone()[0]
        if (mode, durable) != ("wal", 2):
            raise Invalid(f"{path} cannot be opened durably", code="lake-durability", why=f"{mode}, {durable}")
    except BaseException:
        db.close()
        raise
    return db


def check_version(catalog: Catalog) -> None:
    """Raise Invalid when the catalog is of a version that this code does not write."""
    try:
        found = dict(catalog.rows("SELECT key, value FROM ducklake_metadata WHERE scope IS NULL"))
        ours = catalog.rows("SELECT version FROM holdfast_format")
    except HoldfastError as error:
        raise Corrupt(
            f"{catalog.path} is not an index", code="lake-catalog", why=str(error), hint="rebuild the index"
        ) from error
    if (found.get("version"), ours) != (DUCKLAKE_VERSION, [(HOLDFAST_FORMAT,)]):
        raise Invalid(
            f"{catalog.path} was written by another version",
            code="lake-version",
            why=f"DuckLake {found.get('version')}, format {ours}; this is {DUCKLAKE_VERSION}, {HOLDFAST_FORMAT}",
            hint="use the version that wrote it, or rebuild the index",
        )
    data = f"{os.path.abspath(catalog.data)}/"
    if found.get("data_path") != data:
        catalog.rows("UPDATE ducklake_metadata SET value = ? WHERE key = 'data_path' AND scope IS NULL", (data,))


def load_ids(catalog: Catalog, spec: TableSpec) -> TableIds:
    """Return the ids of a table. Raises Invalid when the catalog describes the table otherwise than `spec`."""
    table = catalog.rows(
        "SELECT table_id FROM ducklake_table WHERE table_name = ? AND schema_id = 0 AND end_snapshot IS NULL",
        (spec.name,),
    )
    columns = catalog.rows(
        "SELECT column_name, column_type, nulls_allowed, column_id FROM ducklake_column"
        " WHERE table_id = ? AND end_snapshot IS NULL ORDER BY column_order",
        table[0] if table else (None,),
    )
    partition = catalog.rows(
        "SELECT partition_id, column_id FROM ducklake_partition_info JOIN ducklake_partition_column"
        " USING (partition_id, table_id) WHERE table_id = ? AND end_snapshot IS NULL",
        table[0] if table else (None,),
    )
    ids = {row[0]: row[3] for row in columns}
    wanted = [(c.name, c.type, int(c.nullable)) for c in spec.columns]
    by = [ids.get(spec.partition)] if spec.partition else []
    if [row[:3] for row in columns] != wanted or [row[1] for row in partition] != by:
        raise Invalid(
            f"table {spec.name} of the index has another shape than this version writes",
            code="lake-schema",
            hint="rebuild the index",
        )
    return TableIds(table[0][0], ids, partition[0][0] if partition else None)


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        if "locked" in str(error) or "busy" in str(error):
            raise Unavailable(f"{path} is locked by another writer", code="lake-busy", why=str(error)) from error
        if "full" in str(error):
            raise Limit(f"no space left for {path}", code="no-space", why=str(error)) from error
        raise Corrupt(f"{path} does not answer", code="lake-catalog", why=str(error)) from error
    except sqlite3.IntegrityError as error:
        raise Conflict(f"{path} was changed by another writer", code="lake-conflict", why=str(error)) from error
    except sqlite3.DatabaseError as error:
        raise Corrupt(f"{path} does not read", code="lake-catalog", why=str(error)) from error

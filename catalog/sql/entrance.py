"""What of the index enters the door for one caller. Imports `storage.lake`, the projections' tables and the views.

What enters is the scope: a statement can reach every byte that its process was given, so rows of other machines are
left outside and not hidden behind a view. Callers of everything get the planned files. Others get small tables as
copies of their own rows, made here, and large ones as files of which Arrow shows their rows only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import msgspec
import pyarrow as pa
import pyarrow.dataset as ds

from catalog.projections.tables import BY_NAME, TABLES
from catalog.sql.door.rowfilter import RowFilter, row_filter
from catalog.sql.door.wire import placeholder
from catalog.sql.views import create_statements
from storage.errors import Invalid, NotFound
from storage.lake import Lake
from storage.lake.plan import PlannedFile

BY_DISK = ("extents", "chunks", "chunk_refs")
"""Large tables, whose rows name their disk and not their machine."""
MAX_COPIED_ROWS = 500_000
"""Up to here a table is copied for its caller; beyond, Arrow filters its files."""
ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class Entering:
    """One table: its files, the rows of them that may be seen (None: all); or instead of files a copy, filtered."""

    table: str
    files: tuple[Path, ...] = ()
    only: RowFilter | None = None
    copy: pa.Buffer | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Entrance:
    """All that enters; `position` is the log position it shows, `key` the same for the same rows."""

    tables: tuple[Entering, ...]
    statements: tuple[str, ...]
    position: int
    key: str


def entrance(lake: Lake, *, machine_ids: frozenset[UUID] | None, as_of: int | None = None) -> Entrance:
    """Plan what enters: all machines for None; `as_of` a log position.

    Raises NotFound for a position that the index has not reached, Corrupt when a table can't be trusted.
    """
    for attempt in range(1, ATTEMPTS + 1):
        head = lake.catalog.head()
        try:
            return _planned(lake, head.snapshot, head.position, machine_ids, as_of)
        except NotFound as error:
            if error.code != "unknown-snapshot" or attempt == ATTEMPTS:
                raise  # Else it was replaced and expired between the two lines: look again.
    raise AssertionError


def _planned(
    lake: Lake, snapshot: int, position: int, machine_ids: frozenset[UUID] | None, as_of: int | None
) -> Entrance:
    if as_of is not None and not 0 <= as_of <= position:
        raise NotFound(
            f"the index has no position {as_of}", code="position-unknown", hint=f"it goes from 0 to {position}"
        )
    files = {spec.name: lake.plan(spec.name, snapshot=snapshot) for spec in TABLES}
    tables = _whole(files) if machine_ids is None else Scoped(lake, snapshot, files, machine_ids).tables()
    entering = tuple(table for table in tables if table.files or table.copy is not None)
    statements = tuple(create_statements({each.table: placeholder(each.table) for each in entering}, as_of=as_of))
    named = [sorted(str(file.path) for listed in files.values() for file in listed), as_of]
    scope = None if machine_ids is None else sorted(map(str, machine_ids))
    key = hashlib.sha256(msgspec.json.encode([named, scope])).hexdigest()
    return Entrance(entering, statements, position if as_of is None else as_of, key)


def _whole(files: Mapping[str, list[PlannedFile]]) -> Iterable[Entering]:
    for table, planned in files.items():
        yield Entering(table, tuple(file.path for file in planned))


class Scoped:
    """The rows of some machines."""

    def __init__(
        self, lake: Lake, snapshot: int, files: Mapping[str, list[PlannedFile]], machine_ids: frozenset[UUID]
    ) -> None:
        self._lake = lake
        self._snapshot = snapshot
        self._files = files
        self._machines = sorted(map(str, machine_ids))

    def tables(self) -> Iterable[Entering]:
        """Every table. A table that names neither machine nor disk enters for nobody but callers of everything."""
        of_machines: RowFilter = [[("machine_id", self._machines)]]
        disks = self._values("disk_points", "disk_id", of_machines)
        runs = self._values("events", "run_id", of_machines)
        for spec in TABLES:
            names = {column.name for column in spec.columns}
            if spec.name == "events":
                yield self._small(spec.name, [*of_machines, [("machine_id", None), ("run_id", runs)]])
            elif "machine_id" in names:
                yield self._small(spec.name, of_machines)
            elif spec.name in BY_DISK:
                yield self._large(spec.name, disks)
            else:
                raise Invalid(f"rows of {spec.name} belong to no machine", code="sql-scope")

    def _small(self, table: str, only: RowFilter) -> Entering:
        files = tuple(file.path for file in self._files[table])
        if sum(file.rows for file in self._files[table]) > MAX_COPIED_ROWS:
            return Entering(table, files, only)
        rows = self._rows(table, only, list(_columns(table)))
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, rows.schema) as stream:
            stream.write_table(rows)
        return Entering(table, copy=sink.getvalue())

    def _large(self, table: str, disks: list[str]) -> Entering:
        """Only files that can hold a row of these disks."""
        where = ({"disk_id": (disk, disk)} for disk in disks)
        planned = {f.path: f for each in where for f in self._lake.plan(table, where=each, snapshot=self._snapshot)}
        return Entering(table, tuple(sorted(planned)), [[("disk_id", disks)]])

    def _values(self, table: str, column: str, only: RowFilter) -> list[str]:
        values = self._rows(table, only, [column]).column(column)
        return sorted(value for value in values.unique().to_pylist() if value is not None)

    def _rows(self, table: str, only: RowFilter, columns: list[str]) -> pa.Table:
        paths = [str(file.path) for file in self._files[table]]
        schema = pa.schema([_column_field(table, name) for name in _columns(table)])
        dataset = ds.dataset(paths, schema=schema, format="parquet")
        return dataset.to_table(columns=columns, filter=row_filter(only), use_threads=False)


def _columns(table: str) -> tuple[str, ...]:
    return tuple(column.name for column in BY_NAME[table].columns)


def _column_field(table: str, column: str) -> pa.Field:
    return BY_NAME[table].arrow_schema.field(column)

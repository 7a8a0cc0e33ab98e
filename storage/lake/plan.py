"""Which files a question must read: one SELECT over the catalog's statistics; may import this package only.

A plan is conservative: a file is left out only when its statistics prove that it holds no row in the ranges.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from storage.errors import Corrupt, NotFound
from storage.lake.catalog import Catalog
from storage.lake.tables import TableSpec, Value, Where
from storage.lake.values import sql_typed, sql_value

VISIBLE = "f.begin_snapshot <= ? AND (f.end_snapshot IS NULL OR f.end_snapshot > ?)"


@dataclass(frozen=True, slots=True)
class PlannedFile:
    """A file to read; `seal` proves its bytes: hashes of the footer and of each row group."""

    path: Path
    rows: int
    size_bytes: int
    footer_bytes: int
    seal: bytes


def plan_files(catalog: Catalog, table: str, where: Where, snapshot: int | None) -> list[PlannedFile]:
    """Return the files of `table` at `snapshot` (None: the newest) that may hold rows in all ranges of `where`.

    A range is (low, high), both included, None for open; rows where the column is null are in no range.
    Raises NotFound for a snapshot that is not there, Invalid for an unknown column.
    """
    source, condition, args = _where_sql(catalog, table, where)
    with catalog.reading():
        at = existing_snapshot(catalog, snapshot)
        rows = catalog.rows(
            "SELECT f.path, f.record_count, f.file_size_bytes, f.footer_size, h.seal"  # noqa: S608 - values are parameters
            f" FROM {source} LEFT JOIN holdfast_file_seal h ON h.data_file_id = f.data_file_id"
            f" WHERE f.table_id = ? AND {VISIBLE}{condition} ORDER BY f.data_file_id",
            [catalog.ids[table].table, at, at, *args],
        )
        foreign = _foreign_rows(catalog)
    if foreign or any(row[4] is None for row in rows):
        raise Corrupt(
            f"table {table} holds rows that Holdfast did not write",
            code="lake-foreign-rows",
            why="a program other than Holdfast changed the index",
            hint="rebuild the index from the event log",
        )
    folder = catalog.folder(table)
    return [PlannedFile(folder / row[0], *row[1:]) for row in rows]


def existing_snapshot(catalog: Catalog, snapshot: int | None) -> int:
    """Return `snapshot`, or the newest one for None. Raises NotFound when it was expired or never was."""
    if snapshot is None:
        return int(catalog.rows("SELECT max(snapshot_id) FROM ducklake_snapshot")[0][0])
    if not catalog.rows("SELECT 1 FROM ducklake_snapshot WHERE snapshot_id = ?", (snapshot,)):
        raise NotFound(
            f"the index has no snapshot {snapshot}", code="unknown-snapshot", hint="it may have been expired"
        )
    return snapshot


def _where_sql(catalog: Catalog, table: str, where: Where) -> tuple[str, str, list[object]]:
    """Return the tables to join, conditions and their parameters that `where` asks of files `f`."""
    spec, ids = catalog.spec(table), catalog.ids[table]
    source, join, condition, args = "ducklake_data_file f", "JOIN", "", list[object]()
    if (part := _exact_part(spec, where)) is not None:
        # SQLite keeps the order of cross joins: the few files of the part come first.
        join = "CROSS JOIN"
        source = f"ducklake_file_partition_value p {join} {source}"
        condition = " AND p.table_id = f.table_id AND p.data_file_id = f.data_file_id AND p.partition_value = ?"
        args.append(str(part))
    for number, (name, (low, high)) in enumerate(where.items()):
        column, s = spec.column(name), f"s{number}"
        if not column.has_stats or (part is not None and name == spec.partition):
            continue
        source += f" {join} ducklake_file_column_stats {s}"
        condition += f" AND {s}.table_id = f.table_id AND {s}.data_file_id = f.data_file_id AND {s}.column_id = ?"
        args.append(ids.columns[name])
        for bound, stat, test in ((low, "max_value", ">="), (high, "min_value", "<=")):
            if bound is not None:
                typed = sql_typed(column.type, f"{s}.{stat}")
                condition += f" AND ({s}.{stat} IS NULL OR {typed} {test} ?)"
                args.append(sql_value(column.type, bound))
    return source, condition, args


def _exact_part(spec: TableSpec, where: Where) -> Value | None:
    low, high = where.get(spec.partition or "", (None, None))
    return low if low is not None and low == high else None


def _foreign_rows(catalog: Catalog) -> bool:
    sql = "SELECT EXISTS (SELECT 1 FROM ducklake_delete_file) OR EXISTS (SELECT 1 FROM ducklake_inlined_data_tables)"
    return bool(catalog.rows(sql)[0][0])

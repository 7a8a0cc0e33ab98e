"""The views that people query: stable names and columns, each with a comment. Pure: SQL text from table sources.

A view shows each thing once, as it was last; the tables below keep every version. Columns are never renamed or
given another meaning. As of a log position, a view shows exactly what the catalog knew then: each row comes from
an event, and rows of later events are left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from catalog.projections.tables import BY_NAME
from catalog.sql.coverage import COVERAGE, COVERAGE_COLUMNS
from storage.lake.tables import TableSpec

SQL_TYPES: dict[str, str] = {
    "boolean": "BOOLEAN",
    "int32": "INTEGER",
    "int64": "BIGINT",
    "uint32": "UINTEGER",
    "uint64": "UBIGINT",
    "varchar": "VARCHAR",
    "blob": "BLOB",
    "timestamptz": "TIMESTAMP WITH TIME ZONE",
}


@dataclass(frozen=True, slots=True)
class View:
    """`body` selects from the tables named in braces; `columns` are names and comments, in the view's order."""

    name: str
    comment: str
    body: str
    columns: Mapping[str, str]


def _of_table(name: str, body: str, comment: str = "", added: Mapping[str, str] | None = None) -> View:
    """A view with the columns of the table of that name, and some more."""
    spec = BY_NAME[name]
    columns = {column.name: column.comment for column in spec.columns}
    return View(name, comment or spec.comment, body, columns | dict(added or {}))


def _all(name: str) -> View:
    return _of_table(name, f"SELECT * FROM {{{name}}}")  # noqa: S608 - our own names


def _latest(name: str, key: str, comment: str) -> View:
    last = f"row_number() OVER (PARTITION BY {key} ORDER BY position DESC) = 1"
    return _of_table(name, f"SELECT * FROM {{{name}}} QUALIFY {last}", comment)  # noqa: S608 - our own names


VIEWS: tuple[View, ...] = (
    _latest("machines", "machine_id", "Machines, each as it was last seen"),
    _latest("disks", "disk_id", "Disks of machines, each as it was last seen"),
    _of_table(
        "snapshots",
        """SELECT run_id, machine_id, label, state,
        last_value(consistency IGNORE NULLS) OVER run AS consistency,
        last_value(fallback_cause IGNORE NULLS) OVER run AS fallback_cause,
        position, recorded_at
        FROM {snapshots}
        WINDOW run AS (PARTITION BY run_id ORDER BY position ROWS UNBOUNDED PRECEDING)
        QUALIFY row_number() OVER (PARTITION BY run_id ORDER BY position DESC) = 1""",
        "Snapshots taken at sources, one for each run, in the state they were last in",
    ),
    _all("extents"),
    _all("chunks"),
    View(
        "chunk_refs",
        "Which points of which disks wrote a chunk; fast to ask by digest",
        """SELECT refs.digest, points.machine_id, points.restore_point_id, refs.disk_id, refs.seq, refs.block
        FROM {chunk_refs} AS refs JOIN {disk_points} AS points USING (disk_id, seq)""",
        {
            "digest": "Keyed BLAKE3-256 of the block's plain bytes",
            "machine_id": "The machine (UUID)",
            "restore_point_id": "The restore point that wrote the block (UUID); it may have been deleted since",
            "disk_id": "The disk (UUID)",
            "seq": "Number of the point among its disk's points, from 1",
            "block": "Block number on the disk, from 0, in units of the repository's chunk size",
        },
    ),
    _all("disk_points"),
    _of_table(
        "restore_points",
        """SELECT points.*, last.level AS verified_level, last.result AS verified_result,
        last.recorded_at AS verified_at
        FROM (SELECT * FROM {restore_points} AS kept ANTI JOIN {deletions} AS gone USING (restore_point_id)) AS points
        LEFT JOIN (
            SELECT * FROM {verifications}
            QUALIFY row_number() OVER (PARTITION BY restore_point_id ORDER BY position DESC) = 1
        ) AS last USING (restore_point_id)""",
        "Committed restore points of machines that were not deleted, each with its last verification",
        {
            "verified_level": "How it was last verified: stored or content; NULL if never",
            "verified_result": "What that found: ok or damaged; NULL if never",
            "verified_at": "When that was recorded; NULL if never",
        },
    ),
    _all("deletions"),
    _all("verifications"),
    View("coverage", "How each machine was covered, a row for each UTC day", COVERAGE, COVERAGE_COLUMNS),
    _all("events"),
)


def create_statements(sources: Mapping[str, str], *, as_of: int | None = None) -> list[str]:
    """The SQL that creates and describes all views; `as_of` is a log position, None for all there is.

    `sources` has, by table, what stands for it behind FROM (see `parquet_source`); one that is not named is empty.
    """
    filtered = {name: _known(spec, sources, as_of) for name, spec in BY_NAME.items()}
    statements = []
    for view in VIEWS:
        statements.append(f"CREATE VIEW {view.name} AS {view.body.format_map(filtered)}")
        statements.append(f"COMMENT ON VIEW {view.name} IS {literal(view.comment)}")
        for column, comment in view.columns.items():
            statements.append(f"COMMENT ON COLUMN {view.name}.{column} IS {literal(comment)}")
    return statements


def parquet_source(spec: TableSpec, paths: Sequence[str]) -> str:
    """A table's Parquet files, oldest first, as what stands behind FROM; without any, an empty relation.

    The newest goes first there: DuckDB learns the columns from the first file's footer, and that one is small.
    """
    if not paths:
        columns = ", ".join(f"CAST(NULL AS {SQL_TYPES[column.type]}) AS {column.name}" for column in spec.columns)
        return f"(SELECT {columns} WHERE false)"
    return f"read_parquet([{', '.join(map(literal, reversed(paths)))}], hive_partitioning=false)"


def _known(spec: TableSpec, sources: Mapping[str, str], as_of: int | None) -> str:
    """The rows of a table that come from events up to a position."""
    rows = _rows(spec, sources)
    if as_of is None:
        return f"({rows})"
    if any(column.name == "position" for column in spec.columns):
        return f"({rows} WHERE position <= {as_of:d})"
    points = f"({_rows(BY_NAME['disk_points'], sources)} WHERE position <= {as_of:d})"
    return f"(SELECT * FROM ({rows}) SEMI JOIN {points} AS known USING (disk_id, seq))"  # noqa: S608 - our own names


def _rows(spec: TableSpec, sources: Mapping[str, str]) -> str:
    columns = ", ".join(column.name for column in spec.columns)
    return f"SELECT {columns} FROM {sources.get(spec.name) or parquet_source(spec, ())}"  # noqa: S608 - our own names


def literal(text: str) -> str:
    """Text as an SQL string."""
    return "'" + text.replace("'", "''") + "'"

"""The views that people query: stable names and columns, each with a comment. Pure: SQL text from file lists.

A view shows each thing once, as it was last; the tables below keep every version. Columns are never renamed or
given another meaning.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from catalog.projections.tables import BY_NAME
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
    """`body` selects from the tables named in braces; `added` comments columns that `table` does not have."""

    table: str
    comment: str
    body: str
    added: Mapping[str, str] = field(default_factory=dict)

    @property
    def columns(self) -> dict[str, str]:
        """Column names and comments, in the view's order."""
        return {column.name: column.comment for column in BY_NAME[self.table].columns} | dict(self.added)


def _latest(table: str, key: str) -> str:
    last = f"row_number() OVER (PARTITION BY {key} ORDER BY position DESC) = 1"
    return f"SELECT * FROM {{{table}}} QUALIFY {last}"  # noqa: S608 - our own names


def _all(table: str) -> str:
    return f"SELECT * FROM {{{table}}}"  # noqa: S608 - our own names


VIEWS: tuple[View, ...] = (
    View("machines", "Machines, each as it was last seen", _latest("machines", "machine_id")),
    View("disks", "Disks of machines, each as it was last seen", _latest("disks", "disk_id")),
    View(
        "snapshots",
        "Snapshots taken at sources, one for each run, in the state they were last in",
        """SELECT run_id, machine_id, label, state,
        last_value(consistency IGNORE NULLS) OVER run AS consistency,
        last_value(fallback_cause IGNORE NULLS) OVER run AS fallback_cause,
        position, recorded_at
        FROM {snapshots}
        WINDOW run AS (PARTITION BY run_id ORDER BY position ROWS UNBOUNDED PRECEDING)
        QUALIFY row_number() OVER (PARTITION BY run_id ORDER BY position DESC) = 1""",
    ),
    View("extents", BY_NAME["extents"].comment, _all("extents")),
    View("chunks", BY_NAME["chunks"].comment, _all("chunks")),
    View("disk_points", BY_NAME["disk_points"].comment, _all("disk_points")),
    View(
        "restore_points",
        "Committed restore points of machines, each with its last verification",
        """SELECT points.*, last.level AS verified_level, last.result AS verified_result,
        last.recorded_at AS verified_at
        FROM {restore_points} AS points LEFT JOIN (
            SELECT * FROM {verifications}
            QUALIFY row_number() OVER (PARTITION BY restore_point_id ORDER BY position DESC) = 1
        ) AS last USING (restore_point_id)""",
        {
            "verified_level": "How it was last verified: stored or content; NULL if never",
            "verified_result": "What that found: ok or damaged; NULL if never",
            "verified_at": "When that was recorded; NULL if never",
        },
    ),
    View("verifications", BY_NAME["verifications"].comment, _all("verifications")),
    View("events", BY_NAME["events"].comment, _all("events")),
)


def create_statements(files: Mapping[str, Sequence[str]]) -> list[str]:
    """The SQL that creates and describes all views over the Parquet files of each table; a table may have none."""
    sources = {name: f"({_source(spec, files.get(name, ()))})" for name, spec in BY_NAME.items()}
    statements = []
    for view in VIEWS:
        statements.append(f"CREATE VIEW {view.table} AS {view.body.format_map(sources)}")
        statements.append(f"COMMENT ON VIEW {view.table} IS {literal(view.comment)}")
        for column, comment in view.columns.items():
            statements.append(f"COMMENT ON COLUMN {view.table}.{column} IS {literal(comment)}")
    return statements


def _source(spec: TableSpec, paths: Sequence[str]) -> str:
    if paths:
        columns = ", ".join(column.name for column in spec.columns)
        listed = ", ".join(map(literal, paths))
        return f"SELECT {columns} FROM read_parquet([{listed}], hive_partitioning=false)"  # noqa: S608 - all quoted
    columns = ", ".join(f"CAST(NULL AS {SQL_TYPES[column.type]}) AS {column.name}" for column in spec.columns)
    return f"SELECT {columns} WHERE false"


def literal(text: str) -> str:
    """Text as an SQL string."""
    return "'" + text.replace("'", "''") + "'"

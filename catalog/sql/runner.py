"""Run one query over the views, streaming the answer. Imports `storage` and this package.

For the owner of the home: the statement is checked, DuckDB can open the planned files and nothing else, and its
settings are locked. Callers who are not trusted with the whole index are answered through `door/`.
"""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
import pyarrow as pa

from catalog.projections.tables import TABLES
from catalog.sql import gate
from catalog.sql.failures import translated
from catalog.sql.settings import FENCE, LOCK, SETTINGS
from catalog.sql.views import create_statements, literal, parquet_source
from storage.errors import NotFound
from storage.lake import Lake

BATCH_ROWS = 8192
MEMORY_LIMIT = "1GB"
THREADS = 2


def run_sql(
    lake: Lake, query: str, *, memory_limit: str = MEMORY_LIMIT, threads: int = THREADS, as_of: int | None = None
) -> pa.RecordBatchReader:
    """Answer `query` over the index as of log position `as_of` (None: now), in batches of at most 8,192 rows.

    Raises, also while the answer is read: Invalid (sql-...) if it is the query, Limit if it needs more memory,
    Corrupt if a file of the index cannot be read; NotFound for a position that the index has not reached.
    """
    with translated():
        connection = connect(lake, memory_limit=memory_limit, threads=threads, as_of=as_of)
        gate.check(connection, query)
        reader = connection.sql(query).to_arrow_reader(BATCH_ROWS)
    return pa.RecordBatchReader.from_batches(reader.schema, _batches(connection, reader))


def connect(
    lake: Lake, *, memory_limit: str = MEMORY_LIMIT, threads: int = THREADS, as_of: int | None = None
) -> duckdb.DuckDBPyConnection:
    """A connection of its own that has the views, can open their files only, and cannot be configured further."""
    check_position(lake, as_of)
    snapshot = lake.catalog.head().snapshot
    files = {spec.name: [str(file.path) for file in lake.plan(spec.name, snapshot=snapshot)] for spec in TABLES}
    paths = ", ".join(literal(path) for listed in files.values() for path in listed)
    connection = duckdb.connect(config=SETTINGS | {"memory_limit": memory_limit, "threads": threads})
    for statement in (
        "SET TimeZone = 'UTC'",
        *create_statements({spec.name: parquet_source(spec, files[spec.name]) for spec in TABLES}, as_of=as_of),
        f"SET allowed_paths = [{paths}]",
        FENCE,
        LOCK,
    ):
        connection.execute(statement)
    return connection


def check_position(lake: Lake, as_of: int | None) -> None:
    """Raise NotFound for a log position that the index has not reached."""
    if as_of is not None and not 0 <= as_of <= (position := lake.position()):
        raise NotFound(
            f"the index has no position {as_of}", code="position-unknown", hint=f"it goes from 0 to {position}"
        )


def _batches(connection: duckdb.DuckDBPyConnection, reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
    try:
        with translated():
            yield from reader
    finally:
        connection.close()

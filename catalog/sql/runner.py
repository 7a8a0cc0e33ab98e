"""Run one query over the views, streaming the answer. Imports `storage` and this package.

For the owner of the home: the statement is checked, DuckDB can open the planned files and nothing else, and its
settings are locked. Callers who are not trusted with the whole index need a sealed process around this.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import duckdb
import pyarrow as pa

from catalog.projections.tables import TABLES
from catalog.sql import gate
from catalog.sql.views import create_statements, literal, parquet_source
from storage.errors import Corrupt, HoldfastError, Invalid, Limit, NotFound
from storage.lake import Lake

BATCH_ROWS = 8192
MEMORY_LIMIT = "1GB"
THREADS = 2

SETTINGS: dict[str, str | bool | int | float | list[str]] = {
    "temp_directory": "",
    "max_temp_directory_size": "0B",
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "allow_community_extensions": False,
    "python_enable_replacements": False,
    "max_expression_depth": 250,
}
CODES: tuple[tuple[type[duckdb.Error], str], ...] = (
    (duckdb.ParserException, "sql-syntax"),
    (duckdb.CatalogException, "sql-unknown-name"),
    (duckdb.BinderException, "sql-binder"),
    (duckdb.PermissionException, "sql-denied"),
    (duckdb.ConversionException, "sql-value"),
    (duckdb.OutOfRangeException, "sql-value"),
    (duckdb.Error, "sql-error"),
)


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
        "SET enable_external_access = false",
        "SET lock_configuration = true",
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


@contextmanager
def translated() -> Iterator[None]:
    """Turn DuckDB's errors into ours; what a person reads is DuckDB's own text."""
    try:
        yield
    except duckdb.Error as error:
        raise _ours(error) from error
    except (pa.ArrowException, OSError) as error:
        # A query that fails while it streams fails inside Arrow, which keeps the text only.
        raise _from_text(str(error)) from error


def _ours(error: duckdb.Error) -> HoldfastError:
    text = str(error).strip()
    code = next(code for kind, code in CODES if isinstance(error, kind))
    return _from_text(text, code)


def _from_text(text: str, code: str = "sql-error") -> HoldfastError:
    if text.startswith("Out of Memory Error"):
        return Limit("the query needs more memory than it may use", code="sql-memory", why=text.splitlines()[0])
    if text.startswith("IO Error"):
        return Corrupt("a file of the index cannot be read", code="index-file", why=text, hint="rebuild the index")
    return Invalid("the query cannot be answered", code=code, why=text)

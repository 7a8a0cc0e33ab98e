"""`holdfast sql`: any question, over the documented views.

Imports `catalog.sql`. The answer streams: a table of a hundred million rows needs no more memory than one of ten.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import typer

from catalog.cli.app import JsonOption, app, home_of
from catalog.cli.output import plain, print_rows
from catalog.runtime import Catalog
from catalog.sql.runner import run_sql
from storage.errors import Invalid


class SqlFormat(StrEnum):
    """How `holdfast sql` answers."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    ARROW = "arrow"
    PARQUET = "parquet"


@app.command()
def sql(
    context: typer.Context,
    query: Annotated[
        str,
        typer.Argument(
            help="One SELECT over: machines, disks, snapshots, extents, chunks, "
            "disk_points, restore_points, verifications, events."
        ),
    ],
    answer: Annotated[SqlFormat, typer.Option("--format", help="How to answer.")] = SqlFormat.TABLE,
    memory: Annotated[str, typer.Option(help="How much memory the query may use.")] = "1GB",
    as_of: Annotated[int | None, typer.Option(metavar="POSITION", help="Ask as of an earlier log position.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Ask the index in SQL."""
    if as_json:
        answer = SqlFormat.JSON
    if answer in (SqlFormat.ARROW, SqlFormat.PARQUET) and sys.stdout.isatty():
        raise Invalid(f"{answer} is binary", code="binary-terminal", hint="send it to a file: ... > answer")
    with Catalog.opened(home_of(context)) as catalog:
        catalog.catch_up()
        WRITERS[answer](run_sql(catalog.lake, query, memory_limit=memory, as_of=as_of))


def _table(reader: pa.RecordBatchReader) -> None:
    print_rows([row for batch in reader for row in batch.to_pylist()], reader.schema.names, as_json=False)


def _json(reader: pa.RecordBatchReader) -> None:
    sys.stdout.write("[")
    first = True
    for batch in reader:
        for row in batch.to_pylist():
            sys.stdout.write("\n  " if first else ",\n  ")
            sys.stdout.write(msgspec.json.encode(row, enc_hook=plain).decode())
            first = False
    sys.stdout.write("]\n" if first else "\n]\n")


def _csv(reader: pa.RecordBatchReader) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(reader.schema.names)
    for batch in reader:
        writer.writerows([_cell(value) for value in row.values()] for row in batch.to_pylist())


def _cell(value: Any) -> Any:
    return value.hex() if isinstance(value, bytes) else value


def _arrow(reader: pa.RecordBatchReader) -> None:
    with pa.ipc.new_stream(sys.stdout.buffer, reader.schema) as stream:
        for batch in reader:
            stream.write_batch(batch)


def _parquet(reader: pa.RecordBatchReader) -> None:
    with pq.ParquetWriter(sys.stdout.buffer, reader.schema, compression="zstd") as writer:
        for batch in reader:
            writer.write_batch(batch)


WRITERS: dict[SqlFormat, Callable[[pa.RecordBatchReader], None]] = {
    SqlFormat.TABLE: _table,
    SqlFormat.JSON: _json,
    SqlFormat.CSV: _csv,
    SqlFormat.ARROW: _arrow,
    SqlFormat.PARQUET: _parquet,
}

"""DuckDB inside a sealed worker: the tables that came in, the views over them, one answer. Imports this package,
`catalog.sql`'s gate and settings, and `catalog.answers`.

Every file is a descriptor. Where all rows may be seen DuckDB opens it anew through /proc; else a dataset of Arrow
filters the rows before DuckDB gets them, and no statement can go round that.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds

from catalog.answers import AnswerFormat, encode
from catalog.sql import gate
from catalog.sql.door.rowfilter import row_filter
from catalog.sql.door.wire import Ask, Enter, Source, placeholder
from catalog.sql.failures import translated
from catalog.sql.settings import FENCE, LOCK, SETTINGS

BATCH_ROWS = 8192


class Engine:
    """One connection. `native`: files that may be seen whole are opened by DuckDB itself."""

    def __init__(self, enter: Enter, descriptors: Sequence[int], *, native: bool) -> None:
        self._connection = duckdb.connect(config=SETTINGS | {"threads": enter.threads})
        self._kept: list[Any] = []
        self._opened: list[str] = []
        places = {source.table: "" for source in enter.sources}
        left = iter(descriptors)
        for source in enter.sources:
            files = [next(left) for _ in range(source.files)]
            whole = native and source.only is None and not source.copied
            places[source.table] = self._native(files) if whole else self._registered(source, files)
        script = ";\n".join(["SET TimeZone = 'UTC'", *enter.statements])
        for table, place in places.items():
            script = script.replace(placeholder(table), place)
        if not native:
            self._fence()
        self._connection.execute(script)
        if native:
            self._fence()

    def warm_up(self) -> None:
        """Do once what every first statement would pay for."""
        self._connection.sql("SELECT 1").to_arrow_reader(1).read_all()

    def answer(self, ask: Ask) -> tuple[pa.Schema, Rows, Iterator[bytes]]:
        """Begin the one answer: its columns, its rows as they are counted, its bytes. Raises HoldfastError."""
        with translated():
            self._connection.execute(f"SET memory_limit = '{ask.memory_bytes // 1000}KB'")
            gate.check(self._connection, ask.query)
            self._connection.execute(LOCK)
            relation = self._connection.sql(ask.query)
            reader = _nothing() if relation is None else relation.to_arrow_reader(BATCH_ROWS)
            rows = Rows(reader, ask.row_limit)
            return reader.schema, rows, encode(AnswerFormat(ask.format), reader.schema, rows)

    def streaming(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        """The bytes of an answer, errors on the way being ours."""
        with translated():
            yield from pieces

    def _native(self, files: Sequence[int]) -> str:
        paths = ", ".join(f"'/proc/self/fd/{file}'" for file in files)
        self._opened.append(paths)
        return f"read_parquet([{paths}], hive_partitioning=false)"

    def _registered(self, source: Source, files: Sequence[int]) -> str:
        name = f"rows_of_{source.table}"
        self._connection.register(name, _copied(files[0]) if source.copied else _dataset(source, files))
        return name

    def _fence(self) -> None:
        self._connection.execute(f"SET allowed_paths = [{', '.join(self._opened)}]")
        self._connection.execute(FENCE)


class Rows:
    """The batches of an answer up to a number of rows; says whether there were more."""

    def __init__(self, reader: pa.RecordBatchReader, limit: int) -> None:
        self._reader = reader
        self._limit = limit
        self.count = 0
        self.truncated = False

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        for batch in self._reader:
            if batch.num_rows > self._limit - self.count:
                self.truncated = True
                batch = batch.slice(0, self._limit - self.count)  # noqa: PLW2901 - the last one, cut
            self.count += batch.num_rows
            yield batch
            if self.truncated:
                return


def load_encoders() -> None:
    """Write a row of everything: what Python or Arrow load for it can't be loaded in a sealed process."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    row = {"at": now, "text": "x", "number": Decimal(1), "day": now.date(), "time": now.time(), "span": timedelta(1)}
    rows = pa.Table.from_pylist([row | {"id": UUID(int=0).bytes}])
    for answer in AnswerFormat:
        for _ in encode(answer, rows.schema, rows.to_batches()):
            pass
    pa.scalar(UUID(int=0).bytes, pa.uuid()).as_py()


def _nothing() -> pa.RecordBatchReader:
    return pa.RecordBatchReader.from_batches(pa.schema([]), [])


def _mapped(file: int) -> pa.Buffer:
    size = os.fstat(file).st_size
    buffer = pa.py_buffer(mmap.mmap(file, size, prot=mmap.PROT_READ) if size else b"")
    os.close(file)
    return buffer


def _copied(file: int) -> pa.Table:
    return pa.ipc.open_stream(pa.BufferReader(_mapped(file))).read_all()


def _dataset(source: Source, files: Sequence[int]) -> ds.Dataset:
    parquet = ds.ParquetFileFormat()
    fragments = [parquet.make_fragment(pa.BufferReader(_mapped(file))) for file in files]
    dataset = ds.FileSystemDataset(fragments, fragments[0].physical_schema, parquet)
    return dataset if source.only is None else dataset.filter(row_filter(source.only))

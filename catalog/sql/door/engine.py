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
from uuid import UUID

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds

from catalog.answers import AnswerFormat, encode
from catalog.sql import gate
from catalog.sql.door.rowfilter import row_filter
from catalog.sql.door.wire import AnswerColumn, Ask, Enter, Source, placeholder
from catalog.sql.failures import translated
from catalog.sql.settings import FENCE, LOCK, SETTINGS
from storage.errors import Invalid

BATCH_ROWS = 8192
LOST_CAUSE = "INTERRUPT Error"
LOOKS = 3
"""How often a statement runs again to find why it failed."""


class Engine:
    """One connection. `native`: files that may be seen whole are opened by DuckDB itself."""

    def __init__(self, enter: Enter, descriptors: Sequence[int], *, native: bool) -> None:
        self._connection = duckdb.connect(config=SETTINGS | {"threads": enter.threads})
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

    def begin(self, ask: Ask) -> Running:
        """Check and bind the one statement; it runs when its bytes are asked for. Raises HoldfastError."""
        with translated():
            self._connection.execute(f"SET memory_limit = '{ask.memory_bytes // 1000}KB'")
            gate.check(self._connection, ask.query)
            self._connection.execute(LOCK)
            return Running(self._connection.sql(ask.query), ask)

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


class Running:
    """A statement and its answer, up to a number of rows; `truncated` says whether there were more."""

    def __init__(self, relation: duckdb.DuckDBPyRelation | None, ask: Ask) -> None:
        self._relation = relation
        self._ask = ask
        self.rows = 0
        self.truncated = False

    def columns(self) -> list[AnswerColumn]:
        """Names, and types as DuckDB calls them; none for what is no question."""
        if self._relation is None:
            return []
        named = zip(self._relation.columns, self._relation.types, strict=True)
        return [AnswerColumn(name, str(of)) for name, of in named]

    def pieces(self) -> Iterator[bytes]:
        """Run it and yield the bytes of its answer. Raises HoldfastError."""
        try:
            with translated():
                reader = _nothing() if self._relation is None else self._relation.to_arrow_reader(BATCH_ROWS)
                form = AnswerFormat(self._ask.format)
                yield from encode(form, reader.schema, self._cut(reader), truncated=lambda: self.truncated)
        except Invalid as error:
            raise self._cause(error) from error
        except (ValueError, ArithmeticError) as error:
            raise Invalid(
                "a value cannot be written", code="sql-value", why=str(error), hint="cast it to VARCHAR"
            ) from error

    def _cut(self, reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
        for batch in reader:
            left = self._ask.row_limit - self.rows
            self.truncated = batch.num_rows > left
            self.rows += min(batch.num_rows, left)
            yield batch.slice(0, left)
            if self.truncated:
                return

    def _cause(self, error: Invalid) -> Invalid:
        """Why the statement failed.

        A thread of DuckDB 1.5 that fails interrupts the others, and now and then it is their end that is told. Nobody
        else interrupts a statement here, so it runs again, for its error alone and within the same limits.
        """
        for _ in range(LOOKS):
            if self._relation is None or not error.why.startswith(LOST_CAUSE):
                return error
            try:
                with translated():
                    for _batch in self._relation.to_arrow_reader(BATCH_ROWS):
                        pass
            except Invalid as again:
                error = again
        return error


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

"""Writing one Parquet file of a table: streamed, sealed and durable before anything cites it.

May import the modules of this package. While a file is written its writer holds an exclusive flock on it; the
seal is the BLAKE3 of the footer and of each row group, so that a reader can prove every byte it uses.
"""

from __future__ import annotations

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq
from blake3 import blake3

from storage.errors import Invalid
from storage.lake.files import make_folder, sync_folder, translated
from storage.lake.tables import TableSpec
from storage.lake.values import stat_text

FOOTER_TAIL_BYTES = 8
SEAL_BYTES = 32


@dataclass(frozen=True, slots=True)
class ColumnStats:
    """What one file holds of one column; `lo` and `hi` as the catalog's text, None when unknown."""

    column: str
    size_bytes: int
    values: int
    nulls: int
    lo: str | None
    hi: str | None


@dataclass(frozen=True, slots=True)
class DataFile:
    """A durable file that no snapshot cites yet; `path` is relative to its table's folder."""

    table: str
    path: str
    part: int | None
    rows: int
    size_bytes: int
    footer_bytes: int
    stats: tuple[ColumnStats, ...]
    seal: bytes


class FileWriter:
    """Writes rows, in the order they come, into one file; use as a context manager.

    Leaving the context without `close` abandons the file. Not for use by several threads.
    """

    def __init__(self, spec: TableSpec, ids: dict[str, int], folder: Path, part: int | None, name: str) -> None:
        if (part is None) != (spec.partition is None):
            raise Invalid(f"table {spec.name} wants {'a' if spec.partition else 'no'} part", code="bad-part")
        self.rows = 0
        self._spec = spec
        self._part = part
        self._path = name if part is None else f"{spec.partition}={part}/{name}"
        self._file = folder / self._path
        self._schema = pa.schema(
            field.with_metadata({b"PARQUET:field_id": str(ids[field.name]).encode()}) for field in spec.arrow_schema
        )
        self._pending: list[pa.Table] = []
        self._pending_rows = 0
        self._sink: _Sink | None = None
        self._writer: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.abandon()

    def write(self, rows: pa.Table | pa.RecordBatch) -> None:
        """Add rows with the table's columns. Raises Invalid when they do not fit, Limit when space is out."""
        table = pa.Table.from_batches([rows]) if isinstance(rows, pa.RecordBatch) else rows
        try:
            table = table.select(self._schema.names).cast(self._schema)
        except (ValueError, pa.ArrowNotImplementedError, KeyError) as error:
            raise Invalid(f"these are no rows of {self._spec.name}", code="bad-rows", why=str(error)) from error
        self.rows += table.num_rows
        self._pending.append(table)
        self._pending_rows += table.num_rows
        while self._pending_rows >= self._spec.group_rows:
            self._flush(self._spec.group_rows)

    def close(self) -> DataFile:
        """Finish the file, make it durable and describe it. Raises Invalid when it would be empty."""
        if self._pending_rows:
            self._flush(self._pending_rows)
        if (sink := self._sink) is None:
            raise Invalid(f"a file of {self._spec.name} without rows", code="empty-file")
        with translated(self._file):
            self._writer.close()
            sink.finish()
            sync_folder(self._file.parent)
        footer = pq.read_metadata(self._file)
        stats = tuple(_column_stats(self._spec, footer))
        self._check_part(stats)
        self._sink = self._writer = None
        return DataFile(
            table=self._spec.name,
            path=self._path,
            part=self._part,
            rows=self.rows,
            size_bytes=sink.size,
            footer_bytes=footer.serialized_size,
            stats=stats,
            seal=b"".join([sink.hashes[-1], *sink.hashes[:-1]]),
        )

    def abandon(self) -> None:
        """Remove the file; nothing when it was closed or never begun."""
        if self._sink is not None:
            self._file.unlink(missing_ok=True)
            self._sink.discard()
            self._writer.close()
            self._sink = self._writer = None

    def _flush(self, rows: int) -> None:
        table = pa.concat_tables(self._pending)
        group, rest = table.slice(0, rows), table.slice(rows)
        with translated(self._file):
            if self._sink is None:
                make_folder(self._file.parent)
                self._sink = _Sink(self._file)
                self._writer = _parquet_writer(self._sink, self._schema, self._spec)
            try:
                self._writer.write_table(group, row_group_size=rows)
            except pa.ArrowInvalid as error:
                raise Invalid(f"these are no rows of {self._spec.name}", code="bad-rows", why=str(error)) from error
        self._sink.cut()
        self._pending, self._pending_rows = [rest], rest.num_rows

    def _check_part(self, stats: tuple[ColumnStats, ...]) -> None:
        if self._spec.partition is None:
            return
        found = next((s.lo, s.hi) for s in stats if s.column == self._spec.partition)
        if found != (str(self._part), str(self._part)):
            raise Invalid(f"rows of parts {found} in a file of part {self._part}", code="bad-part")


class _Sink:
    """The file that Arrow writes to: locked, hashed on the way, cut into a hash a row group and one for the footer."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("xb", buffering=0)
        fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._discarded = False
        self._hash = blake3()
        self.hashes: list[bytes] = []
        self.size = 0

    @property
    def closed(self) -> bool:
        return self._file.closed and not self._discarded

    def write(self, data: bytes) -> int:
        if self._discarded:
            return len(data)
        view = memoryview(data)
        self._hash.update(view)
        self.size += len(view)
        while view:
            view = view[self._file.write(view) :]
        return len(data)

    def tell(self) -> int:
        return self.size

    def flush(self) -> None:
        """Nothing is kept back."""

    def cut(self) -> None:
        self.hashes.append(self._hash.digest())
        self._hash = blake3()

    def finish(self) -> None:
        self.cut()
        os.fsync(self._file.fileno())
        self._file.close()

    def discard(self) -> None:
        self._file.close()
        self._discarded = True


def _parquet_writer(sink: _Sink, schema: pa.Schema, spec: TableSpec) -> Any:
    columns = spec.columns
    packed = [c.name for c in columns if c.encoding != "plain"]
    return pq.ParquetWriter(
        sink,
        schema,
        use_dictionary=[c.name for c in columns if c.encoding == "dictionary"],
        column_encoding={c.name: c.parquet_encoding for c in columns if c.encoding != "dictionary"},
        compression={c.name: "zstd" if c.name in packed else "none" for c in columns},
        compression_level=dict.fromkeys(packed, 1),
        write_statistics=[c.name for c in columns if c.has_stats or c.name == spec.key],
        write_page_checksum=True,
        store_schema=False,
    )


def _column_stats(spec: TableSpec, footer: Any) -> list[ColumnStats]:
    found = []
    groups = [footer.row_group(g) for g in range(footer.num_row_groups)]
    for index, column in enumerate(spec.columns):
        if not column.has_stats:
            continue
        chunks = [group.column(index) for group in groups]
        stats = [chunk.statistics for chunk in chunks]
        nulls = sum(s.null_count for s in stats)
        bounded = [s for s in stats if s.has_min_max]
        known = all(s.has_min_max or not s.num_values for s in stats) and bool(bounded)
        lo = stat_text(column.type, min(s.min for s in bounded)) if known else None
        hi = stat_text(column.type, max(s.max for s in bounded)) if known else None
        values = footer.num_rows - nulls
        found.append(ColumnStats(column.name, sum(c.total_compressed_size for c in chunks), values, nulls, lo, hi))
    return found

"""Rows on their way into files: small and keyed tables collected, bulk tables streamed. May import `storage.lake`.

Memory is bounded by flushing when `weight_bytes` says so; bulk rows beyond a row group are in their file already,
and rows of a keyed table that would take more than `keep_bytes` go to a file of their own.
"""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

from catalog.projections.tables import BY_NAME
from storage.lake import Lake, TableSpec
from storage.lake.keys import in_key_order
from storage.lake.parquet import DataFile, FileWriter

ROW_BYTES = 1024
"""What a row of a small table costs in memory, about, besides its text."""


class Sheets:
    """The files of one commit in the making; close or abandon them all."""

    def __init__(self, lake: Lake, first_position: int, keep_bytes: int) -> None:
        self.weight_bytes = 0
        self._lake = lake
        self._first = first_position
        self._small: dict[tuple[str, int | None], list[Mapping[str, object]]] = {}
        self._keep_bytes = keep_bytes
        self._keyed: dict[str, list[pa.Table]] = {}
        self._kept_bytes = 0
        self._full: list[FileWriter] = []
        self._writers: dict[tuple[str, int | None], FileWriter] = {}

    def add(self, table: str, row: Mapping[str, object]) -> None:
        """Collect a row of a small table."""
        partition = BY_NAME[table].partition
        part = row[partition] if partition else None
        self._small.setdefault((table, part if isinstance(part, int) else None), []).append(row)
        self.weight_bytes += ROW_BYTES + len(str(row.get("body", "")))

    def stream(self, table: str, part: int, rows: pa.RecordBatch) -> None:
        """Write rows of a bulk table."""
        if rows.num_rows:
            self._writer(table, part, self._first).write(rows)
            self.weight_bytes += rows.nbytes

    def collect(self, table: str, rows: pa.RecordBatch) -> None:
        """Keep rows of a keyed table, each of whose files has them in the order of their keys."""
        if not rows.num_rows:
            return
        kept = _small_in_memory(BY_NAME[table], rows)
        self._keyed.setdefault(table, []).append(kept)
        self._kept_bytes += kept.nbytes
        self.weight_bytes += kept.nbytes
        if self._kept_bytes >= self._keep_bytes:
            self._flush(self._first)

    def close(self, position: int) -> list[DataFile]:
        """Finish all files, durably. Raises Limit when space is out."""
        for (table, part), rows in self._small.items():
            table_rows = pa.Table.from_pylist(list(rows), BY_NAME[table].arrow_schema)
            self._writer(table, part, position).write(table_rows)
        self._flush(position)
        return [writer.close() for writer in (*self._writers.values(), *self._full)]

    def abandon(self) -> None:
        """Remove what is not finished."""
        for writer in (*self._writers.values(), *self._full):
            writer.abandon()

    def _flush(self, position: int) -> None:
        """Write what was kept of keyed tables."""
        for table, pieces in self._keyed.items():
            writer = self._lake.writer(table, positions=(self._first, position))
            self._full.append(writer)
            writer.write(in_key_order(BY_NAME[table], pa.concat_tables(pieces).unify_dictionaries()))
        self._keyed, self._kept_bytes = {}, 0

    def _writer(self, table: str, part: int | None, position: int) -> FileWriter:
        key = (table, part)
        if key not in self._writers:
            self._writers[key] = self._lake.writer(table, part, positions=(self._first, position))
        return self._writers[key]


def _small_in_memory(spec: TableSpec, rows: pa.RecordBatch) -> pa.Table:
    """The table's columns of the rows, text that repeats as dictionaries."""
    columns = {column.name: rows.column(column.name) for column in spec.columns}
    for column in spec.columns:
        if column.type == "varchar" and column.encoding == "dictionary":
            columns[column.name] = columns[column.name].dictionary_encode()
    return pa.table(columns)

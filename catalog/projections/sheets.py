"""Rows on their way into files: small and keyed tables collected, bulk tables streamed. May import `storage.lake`.

Memory is bounded by flushing when `weight_bytes` says so; bulk rows beyond a row group are in their file already.
"""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

from catalog.projections.tables import BY_NAME
from storage.lake import Lake
from storage.lake.keys import in_key_order
from storage.lake.parquet import DataFile, FileWriter

ROW_BYTES = 1024
"""What a row of a small table costs in memory, about, besides its text."""


class Sheets:
    """The files of one commit in the making; close or abandon them all."""

    def __init__(self, lake: Lake, first_position: int) -> None:
        self.weight_bytes = 0
        self._lake = lake
        self._first = first_position
        self._small: dict[tuple[str, int | None], list[Mapping[str, object]]] = {}
        self._keyed: dict[str, list[pa.RecordBatch]] = {}
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
        """Keep rows of a keyed table, whose file has them in the order of their keys."""
        spec = BY_NAME[table]
        if rows.num_rows:
            kept = rows.select([column.name for column in spec.columns])
            self._keyed.setdefault(table, []).append(kept)
            self.weight_bytes += kept.nbytes

    def close(self, position: int) -> list[DataFile]:
        """Finish all files, durably. Raises Limit when space is out."""
        for (table, part), rows in self._small.items():
            table_rows = pa.Table.from_pylist(list(rows), BY_NAME[table].arrow_schema)
            self._writer(table, part, position).write(table_rows)
        for table, batches in self._keyed.items():
            self._writer(table, None, position).write(in_key_order(BY_NAME[table], pa.Table.from_batches(batches)))
        return [writer.close() for writer in self._writers.values()]

    def abandon(self) -> None:
        """Remove what is not finished."""
        for writer in self._writers.values():
            writer.abandon()

    def _writer(self, table: str, part: int | None, position: int) -> FileWriter:
        key = (table, part)
        if key not in self._writers:
            self._writers[key] = self._lake.writer(table, part, positions=(self._first, position))
        return self._writers[key]

"""Compaction: many small files of one part become one in the table's order; the rows and the position stay.

May import the modules of this package. Memory is bounded by TARGET_ROWS rows. A file takes part only with
others that together are as large as it is, so a row is rewritten a logarithmic number of times.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import pyarrow as pa

from storage.errors import Conflict
from storage.lake.catalog import Catalog
from storage.lake.commit import add_files, add_snapshot
from storage.lake.parquet import DataFile, FileWriter
from storage.lake.plan import PlannedFile
from storage.lake.read import read_file

TARGET_BYTES = 64 << 20
TARGET_ROWS = 1_000_000
MIN_FILES = 8

NewWriter = Callable[[str, int | None, tuple[int, int]], FileWriter]


@dataclass(frozen=True, slots=True)
class CompactReport:
    """How many files were replaced, by how many, and the rows in them."""

    replaced: int
    written: int
    rows: int


@dataclass(frozen=True, slots=True)
class _Small:
    id: int
    part: int | None
    file: PlannedFile

    @property
    def positions(self) -> tuple[int, int]:
        """The event positions that the file's name tells."""
        first, last, _ = self.file.path.name.split("-")
        return int(first), int(last)


def compact_table(catalog: Catalog, table: str, new_writer: NewWriter, min_files: int = MIN_FILES) -> CompactReport:
    """Merge the small files of each part of `table`, one snapshot a part.

    Raises Corrupt when a file to merge is damaged and Conflict when another compaction was faster; parts done
    before stay done.
    """
    replaced = written = rows = 0
    for part, small in groupby(_small_files(catalog, table), key=lambda file: file.part):
        for group in _groups(list(small), min_files):
            merged = _merge(catalog, table, part, group, new_writer)
            try:
                _replace(catalog, group, merged)
            except BaseException:
                (catalog.folder(table) / merged.path).unlink(missing_ok=True)
                raise
            replaced, written, rows = replaced + len(group), written + 1, rows + merged.rows
    return CompactReport(replaced, written, rows)


def _small_files(catalog: Catalog, table: str) -> list[_Small]:
    rows = catalog.rows(
        "SELECT f.data_file_id, p.partition_value, f.path, f.record_count, f.file_size_bytes, f.footer_size, h.seal"
        " FROM ducklake_data_file f JOIN holdfast_file_seal h USING (data_file_id)"
        " LEFT JOIN ducklake_file_partition_value p USING (data_file_id)"
        " WHERE f.table_id = ? AND f.end_snapshot IS NULL AND f.file_size_bytes < ? AND f.record_count < ?"
        " ORDER BY CAST(p.partition_value AS INTEGER), f.data_file_id",
        (catalog.ids[table].table, TARGET_BYTES // 2, TARGET_ROWS // 2),
    )
    folder = catalog.folder(table)
    return [_Small(row[0], row[1] and int(row[1]), PlannedFile(folder / row[2], *row[3:])) for row in rows]


def _groups(files: Sequence[_Small], min_files: int) -> Iterator[list[_Small]]:
    """Cut a part's files, oldest first, into groups worth merging, each at most one output file."""
    group: list[_Small] = []
    for file in files:
        group.append(file)
        size = sum(small.file.size_bytes for small in group)
        if size >= TARGET_BYTES or sum(small.file.rows for small in group) >= TARGET_ROWS:
            yield group
            group = []
    while len(group) >= min_files and group[0].file.size_bytes > sum(small.file.size_bytes for small in group[1:]):
        group.pop(0)
    if len(group) >= min_files:
        yield group


def _merge(catalog: Catalog, table: str, part: int | None, group: Sequence[_Small], new_writer: NewWriter) -> DataFile:
    spec = catalog.spec(table)
    batches = [batch for small in group for batch in read_file(small.file, spec, None, {})]
    rows = pa.Table.from_batches(batches)
    if spec.sort:
        rows = rows.sort_by([(name, "ascending") for name in spec.sort])
    positions = [small.positions for small in group]
    with new_writer(table, part, (min(p[0] for p in positions), max(p[1] for p in positions))) as writer:
        writer.write(rows)
        return writer.close()


def _replace(catalog: Catalog, group: Sequence[_Small], merged: DataFile) -> None:
    """End the old files and begin the new one in one snapshot at the same log position."""
    ids = catalog.ids[merged.table]
    with catalog.transaction() as head:
        for small in group:
            catalog.rows(
                "UPDATE ducklake_data_file SET end_snapshot = ? WHERE data_file_id = ? AND end_snapshot IS NULL",
                (head.snapshot + 1, small.id),
            )
            if catalog.rows("SELECT changes()") != [(1,)]:
                raise Conflict(f"{small.file.path} was merged by another", code="stale-compaction")
        changes = f"merge_adjacent:{ids.table}"
        snapshot = add_snapshot(catalog, head, 1, changes, f"compact {merged.table}", head.position)
        add_files(catalog, head, snapshot, [merged])
        catalog.rows(
            "UPDATE ducklake_table_stats SET record_count = record_count - ?, file_size_bytes = file_size_bytes - ?"
            " WHERE table_id = ?",
            (merged.rows, sum(small.file.size_bytes for small in group), ids.table),
        )

"""Compaction: many small files of one part become one in the table's order; the rows and the position stay.

May import the modules of this package. Memory is bounded by TARGET_ROWS rows; files of keyed tables are merged as
streams and may grow larger, for a look-up asks every file. A file takes part only with others that together are as
large as it is, so a row is rewritten a logarithmic number of times.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import pyarrow as pa

from storage.errors import Conflict
from storage.lake.catalog import Catalog
from storage.lake.commit import add_files, add_snapshot
from storage.lake.merge import merged
from storage.lake.parquet import DataFile, FileWriter
from storage.lake.plan import PlannedFile
from storage.lake.read import read_file
from storage.lake.tables import TableSpec

TARGET_BYTES = 64 << 20
TARGET_ROWS = 1_000_000
KEYED_ROWS = 32_000_000
MIN_FILES = 8

NewWriter = Callable[[str, int | None, tuple[int, int]], FileWriter]


@dataclass(frozen=True, slots=True)
class CompactReport:
    """How many files were replaced, by how many, and the rows in them."""

    replaced: int
    written: int
    rows: int


@dataclass(frozen=True, slots=True)
class _Target:
    """A file that is as large as this is large enough."""

    size_bytes: int
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
    target = _Target(1 << 62, KEYED_ROWS) if catalog.spec(table).keyed else _Target(TARGET_BYTES, TARGET_ROWS)
    for part, small in groupby(_small_files(catalog, table, target), key=lambda file: file.part):
        for group in _groups(list(small), min_files, target):
            merged = _merge(catalog, table, part, group, new_writer)
            try:
                _replace(catalog, group, merged)
            except BaseException:
                (catalog.folder(table) / merged.path).unlink(missing_ok=True)
                raise
            replaced, written, rows = replaced + len(group), written + 1, rows + merged.rows
    return CompactReport(replaced, written, rows)


def _small_files(catalog: Catalog, table: str, target: _Target) -> list[_Small]:
    rows = catalog.rows(
        "SELECT f.data_file_id, p.partition_value, f.path, f.record_count, f.file_size_bytes, f.footer_size, h.seal"
        " FROM ducklake_data_file f JOIN holdfast_file_seal h USING (data_file_id)"
        " LEFT JOIN ducklake_file_partition_value p USING (data_file_id)"
        " WHERE f.table_id = ? AND f.end_snapshot IS NULL AND f.file_size_bytes < ? AND f.record_count < ?"
        " ORDER BY CAST(p.partition_value AS INTEGER), f.data_file_id",
        (catalog.ids[table].table, target.size_bytes // 2, target.rows // 2),
    )
    folder = catalog.folder(table)
    return [_Small(row[0], row[1] and int(row[1]), PlannedFile(folder / row[2], *row[3:])) for row in rows]


def _groups(files: Sequence[_Small], min_files: int, target: _Target) -> Iterator[list[_Small]]:
    """Cut a part's files, oldest first, into groups worth merging, each at most one output file."""
    group: list[_Small] = []
    for file in files:
        group.append(file)
        size = sum(small.file.size_bytes for small in group)
        if size >= target.size_bytes or sum(small.file.rows for small in group) >= target.rows:
            yield group
            group = []
    while len(group) >= min_files and group[0].file.size_bytes > sum(small.file.size_bytes for small in group[1:]):
        group.pop(0)
    if len(group) >= min_files:
        yield group


def _merge(catalog: Catalog, table: str, part: int | None, group: Sequence[_Small], new_writer: NewWriter) -> DataFile:
    positions = [small.positions for small in group]
    with new_writer(table, part, (min(p[0] for p in positions), max(p[1] for p in positions))) as writer:
        for rows in _in_order(catalog.spec(table), [small.file for small in group]):
            writer.write(rows)
        return writer.close()


def _in_order(spec: TableSpec, files: Sequence[PlannedFile]) -> Iterator[pa.Table]:
    """All rows of the files, in the table's order."""
    if spec.keyed:
        yield from merged(spec, files)
        return
    rows = pa.Table.from_batches([batch for file in files for batch in read_file(file, spec, None, {})])
    yield rows.sort_by([(name, "ascending") for name in spec.sort]) if spec.sort else rows


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

"""Reading rows of planned files, only the row groups that may matter, every byte proven first.

May import the modules of this package. What does not fit its seal raises Corrupt and is never returned.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from blake3 import blake3

from storage.errors import Corrupt, Invalid
from storage.lake.parquet import FOOTER_TAIL_BYTES, SEAL_BYTES
from storage.lake.plan import PlannedFile
from storage.lake.tables import Range, TableSpec, Where

PAGE_HEAD = 1024
"""More than the header of a page ever takes."""


class SealedFile:
    """An open Parquet file whose footer fits its seal; row groups are proven as they are read."""

    def __init__(self, file: PlannedFile, dictionaries: Sequence[str] = ()) -> None:
        self.file = file
        try:
            self._source = pa.OSFile(str(file.path))
        except FileNotFoundError as error:
            raise self._bad("lake-file-missing", "it is gone") from error
        except OSError as error:
            raise self._bad("lake-file-unreadable", str(error)) from error
        if (size := self._source.size()) != file.size_bytes:
            raise self._bad("lake-file-size", f"{size} bytes instead of {file.size_bytes}")
        self.data_bytes = size - file.footer_bytes - FOOTER_TAIL_BYTES
        if self.data_bytes < 0:
            raise self._bad("lake-file-corrupt", f"a footer of {file.footer_bytes} bytes")
        self._prove(self.data_bytes, size, 0, "footer")
        try:
            self._parquet = pq.ParquetFile(self._source, pre_buffer=False, read_dictionary=list(dictionaries))
        except (OSError, pa.ArrowException) as error:
            raise self._bad("lake-file-corrupt", str(error)) from error
        self.metadata = self._parquet.metadata
        if len(file.seal) != SEAL_BYTES * (self.metadata.num_row_groups + 1):
            raise self._bad("lake-file-corrupt", f"a seal of {len(file.seal)} bytes")

    def read_group(self, group: int, columns: Sequence[str]) -> pa.Table:
        """Return columns of one row group. Raises Corrupt when any byte of the group is not as written."""
        self.prove_group(group)
        return self.take_group(group, columns)

    def take_group(self, group: int, columns: Sequence[str]) -> pa.Table:
        """Return columns of a row group that was proven. Raises Corrupt when it does not decode."""
        try:
            return self._parquet.read_row_group(group, columns=list(columns), use_threads=False)
        except (OSError, pa.ArrowException) as error:
            raise self._bad("lake-file-corrupt", str(error)) from error

    def prove_group(self, group: int) -> bytes:
        """Return the bytes of a row group. Raises Corrupt unless all of them are as written."""
        last = group + 1 == self.metadata.num_row_groups
        end = self.data_bytes if last else self._begin(group + 1)
        return self._prove(self._begin(group), end, group + 1, f"row group {group}")

    def plain_values(self, group: int, column: int, width: int) -> memoryview | None:
        """Return the fixed-length values of a column that lies in one plain, uncompressed page of a row group.

        The group is proven. None when the column may lie otherwise: then decode it. Values are the page's end; whoever
        knows the first and the last of them should compare, since a second page's header would stand between.
        """
        data, facts = self.prove_group(group), self.metadata.row_group(group).column(column)
        size, begin = facts.num_values * width, facts.data_page_offset - self._begin(group)
        end = begin + facts.total_compressed_size
        if (
            facts.compression != "UNCOMPRESSED"
            or facts.has_dictionary_page
            or not size < end - begin <= size + PAGE_HEAD
        ):
            return None
        return memoryview(data)[end - size : end]

    def close(self) -> None:
        """Close the file."""
        self._source.close()

    def _begin(self, group: int) -> int:
        """Where a row group's bytes begin; the first takes the file's magic with it."""
        if group == 0:
            return 0
        first = self.metadata.row_group(group).column(0)
        return int(first.dictionary_page_offset or first.data_page_offset)

    def _prove(self, begin: int, end: int, index: int, what: str) -> bytes:
        try:
            data = self._source.read_at(end - begin, begin)
        except OSError as error:
            raise self._bad("lake-file-corrupt", f"{what}: {error}") from error
        if blake3(data).digest() != self.file.seal[index * SEAL_BYTES :][:SEAL_BYTES]:
            raise self._bad("lake-file-corrupt", f"the {what} is not as it was written")
        return bytes(data)

    def _bad(self, code: str, why: str) -> Corrupt:
        return Corrupt(
            f"index file {self.file.path} is damaged", code=code, why=why, hint="rebuild the index from the event log"
        )


def read_file(
    file: PlannedFile, spec: TableSpec, columns: Sequence[str] | None, where: Where, dictionaries: Sequence[str] = ()
) -> Iterator[pa.RecordBatch]:
    """Yield the rows of one file that are in all ranges, in the file's order, as batches with `columns`.

    The text columns named in `dictionaries` stay dictionaries, each batch with its own. A range that all of a row
    group is in costs nothing: its column is not read.
    """
    wanted = list(columns) if columns is not None else [column.name for column in spec.columns]
    order = {column.name: index for index, column in enumerate(spec.columns)}
    sealed = SealedFile(file, dictionaries)
    try:
        for group in range(sealed.metadata.num_row_groups):
            facts = sealed.metadata.row_group(group)
            fits = [_fit(facts.column(order[name]).statistics, span) for name, span in where.items()]
            if None in fits:
                continue
            partly = {name: span for (name, span), whole in zip(where.items(), fits, strict=True) if not whole}
            table = sealed.read_group(group, [*wanted, *(name for name in partly if name not in wanted)])
            for name, span in partly.items():
                table = table.filter(_mask(table.column(name), span))
            yield from table.select(wanted).to_batches()
    finally:
        sealed.close()


def _fit(stats: Any, span: Range) -> bool | None:
    """Return True when all rows are in the range, None when none can be, else False."""
    low, high = span
    if stats is None or not stats.has_min_max:
        return False
    first, last = stats.min, stats.max
    if (low is not None and last < low) or (high is not None and first > high):
        return None
    return not stats.null_count and (low is None or first >= low) and (high is None or last <= high)


def _mask(column: pa.ChunkedArray, span: Range) -> pa.ChunkedArray:
    """Which rows are in the range; null where the column is."""
    try:
        low, high = (None if value is None else pa.scalar(value, type=column.type) for value in span)
        if low is not None and low == high:
            return pc.equal(column, low)
        mask = pc.is_valid(column)
        if low is not None:
            mask = pc.and_(mask, pc.greater_equal(column, low))
        return mask if high is None else pc.and_(mask, pc.less_equal(column, high))
    except (pa.ArrowException, TypeError, OverflowError) as error:
        raise Invalid(f"{span} is no range of a {column.type} column", code="bad-filter", why=str(error)) from error

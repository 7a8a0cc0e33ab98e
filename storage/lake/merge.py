"""Merging files of a keyed table as streams: rows in the order of their keys, in bounded memory.

May import the modules of this package. Each file is in order already, so a piece up to the least of the keys that
the files have been read to is complete.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from storage.lake.keys import in_key_order, key_texts
from storage.lake.plan import PlannedFile
from storage.lake.read import SealedFile
from storage.lake.tables import TableSpec

BUFFER_ROWS = 1_000_000


def merged(spec: TableSpec, files: Sequence[PlannedFile], buffer_rows: int = BUFFER_ROWS) -> Iterator[pa.Table]:
    """Yield the rows of all files in key order, about `buffer_rows` at a time. Raises Corrupt for a damaged file."""
    cursors = [_Cursor(spec, file, buffer_rows // len(files)) for file in files]
    try:
        while live := [cursor for cursor in cursors if cursor.fill()]:
            bounds = [cursor.last_key for cursor in live if cursor.has_more]
            pieces = [cursor.take(min(bounds) if bounds else None) for cursor in live]
            rows = pa.concat_tables(piece for piece in pieces if piece.num_rows).unify_dictionaries()
            yield in_key_order(spec, rows)
    finally:
        for cursor in cursors:
            cursor.close()


class _Cursor:
    """One file, read a few row groups at a time."""

    def __init__(self, spec: TableSpec, file: PlannedFile, read_rows: int) -> None:
        self._key = spec.sort[0]
        self._columns = [column.name for column in spec.columns]
        self._file = SealedFile(file, [c.name for c in spec.columns if c.encoding == "dictionary"])
        self._read_rows = read_rows
        self._next_group = 0
        self._rows: pa.Table | None = None
        self._keys = np.empty(0, "S1")

    @property
    def has_more(self) -> bool:
        """Whether the file has rows beyond those that were read."""
        return self._next_group < int(self._file.metadata.num_row_groups)

    @property
    def last_key(self) -> bytes:
        """The greatest key that was read."""
        return bytes(self._keys[-1])

    def fill(self) -> bool:
        """Read on when all that was read was taken; False when the file is at its end."""
        if not len(self._keys) and self.has_more:
            tables, rows = [], 0
            while self.has_more and rows <= self._read_rows:
                tables.append(self._file.read_group(self._next_group, self._columns))
                self._next_group, rows = self._next_group + 1, rows + tables[-1].num_rows
            self._rows = pa.concat_tables(tables)
            self._keys = key_texts(self._rows.column(self._key))
        return bool(len(self._keys))

    def take(self, bound: bytes | None) -> pa.Table:
        """Take the rows up to `bound`, included; all for None."""
        if self._rows is None:
            raise ValueError("nothing was read")
        end = len(self._keys) if bound is None else int(np.searchsorted(self._keys, bound, side="right"))
        taken, self._rows, self._keys = self._rows.slice(0, end), self._rows.slice(end), self._keys[end:]
        return taken

    def close(self) -> None:
        """Close the file."""
        self._file.close()

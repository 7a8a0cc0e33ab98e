"""Finding rows by key: the files of a keyed table stay open, with the bounds of their row groups in memory.

May import the modules of this package. A file never changes, so what was learned of it holds as long as it is
cited. A look-up reads and proves the one or two row groups of each file that can hold the key.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from storage.errors import Corrupt, Invalid
from storage.lake.catalog import Catalog
from storage.lake.keys import key_texts
from storage.lake.plan import PlannedFile, plan_files
from storage.lake.read import SealedFile
from storage.lake.tables import TableSpec

MAX_OPEN = 256
LOOK_EVERY_S = 60.0


class Lookup:
    """One keyed table of a lake. Safe to use from several threads."""

    def __init__(self, catalog: Catalog, spec: TableSpec, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._catalog = catalog
        self._monotonic = monotonic
        self._spec = spec
        self._width = spec.column(spec.sort[0]).arrow_type.byte_width
        self._lock = threading.Lock()
        self._snapshot = -1
        self._position = -1
        self._look_at = 0.0
        self._files: list[PlannedFile] = []
        self._open: dict[str, _KeyedFile] = {}

    def find(
        self, key: bytes, columns: Sequence[str] | None = None, position: int | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows with this key, file by file: of the newest snapshot, or of one at `position` or later.

        With a position the catalog is not asked for each look-up. Raises Invalid, Corrupt.
        """
        if len(key) != self._width:
            raise Invalid(f"a key of {self._spec.name} has {self._width} bytes, not {len(key)}", code="bad-key")
        names = list(columns) if columns is not None else [column.name for column in self._spec.columns]
        for name in names:
            self._spec.column(name)
        return self._rows(key, names, position)

    def close(self) -> None:
        """Give all files up; each closes when nobody reads it any more."""
        with self._lock:
            self._open, self._snapshot, self._position = {}, -1, -1

    def _rows(self, key: bytes, names: list[str], position: int | None) -> Iterator[pa.RecordBatch]:
        for planned in self._planned(position):
            for piece in self._opened(planned).find(key, names):
                yield from piece.to_batches()

    def _planned(self, position: int | None) -> list[PlannedFile]:
        """The files of a snapshot that is new enough; others are given up.

        Files that a merge replaced stay for a grace period, much longer than a plan is used without a look.
        """
        with self._lock:
            fresh = self._monotonic() < self._look_at
            if position is not None and position <= self._position and fresh:
                return self._files
        head = self._catalog.head()
        with self._lock:
            if head.snapshot != self._snapshot:
                self._files = plan_files(self._catalog, self._spec.name, {}, head.snapshot)
                self._snapshot = head.snapshot
                cited = {file.path.name for file in self._files}
                self._open = {name: file for name, file in self._open.items() if name in cited}
            self._position, self._look_at = head.position, self._monotonic() + LOOK_EVERY_S
            return self._files

    def _opened(self, planned: PlannedFile) -> _KeyedFile:
        name = planned.path.name
        with self._lock:
            found = self._open.pop(name, None) or _KeyedFile(planned, self._spec)
            self._open[name] = found
            while len(self._open) > MAX_OPEN:
                self._open.pop(next(iter(self._open)))
            return found


class _KeyedFile:
    """One file: the least and the greatest key of each row group, ascending."""

    def __init__(self, planned: PlannedFile, spec: TableSpec) -> None:
        self._key = spec.sort[0]
        self._width = spec.column(self._key).arrow_type.byte_width
        self._lock = threading.Lock()
        self._file = SealedFile(planned)
        order = self._order = [column.name for column in spec.columns].index(self._key)
        groups = range(self._file.metadata.num_row_groups)
        stats = [self._file.metadata.row_group(group).column(order).statistics for group in groups]
        self._least = [found.min for found in stats]
        self._greatest = [found.max for found in stats]
        if sorted(self._greatest) != self._greatest or sorted(self._least) != self._least:
            raise Corrupt(
                f"index file {planned.path} is not in the order of its keys",
                code="lake-file-order",
                hint="rebuild the index from the event log",
            )

    def find(self, key: bytes, names: list[str]) -> Iterator[pa.Table]:
        """Yield the rows with this key."""
        for group in range(bisect_left(self._greatest, key), bisect_right(self._least, key)):
            found = self._in_group(group, key, names)
            if found is not None:
                yield found

    def _in_group(self, group: int, key: bytes, names: list[str]) -> pa.Table | None:
        keys = self._keys(group)
        low, high = (int(np.searchsorted(keys, key, side=side)) for side in ("left", "right"))
        if low == high:
            return None
        with self._lock:
            return self._file.take_group(group, names).slice(low, high - low)

    def _keys(self, group: int) -> NDArray[np.bytes_]:
        """The keys of a row group, proven; taken as they lie in the file if they do, which is far quicker."""
        values = self._file.plain_values(group, self._order, self._width)
        if values is not None:
            ends = bytes(values[: self._width]), bytes(values[-self._width :])
            if ends == (self._least[group], self._greatest[group]):
                return np.frombuffer(values, f"S{self._width}")
        with self._lock:
            return key_texts(self._file.take_group(group, [self._key]).column(0))

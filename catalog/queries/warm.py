"""The small tables of the index in memory: columns of numpy in the order of the log, which only ever grow.

Imports `catalog.projections.tables` and `storage`. `disk_points`, the largest, is read when first asked for.
Because rows come in the order of their positions, the state at position N is the first so many rows of each table:
readers cut what they see to one position, so they are never torn and never wait for a refresh.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from catalog.projections.tables import BY_NAME
from storage.errors import Conflict
from storage.lake import Lake

NULL = np.iinfo(np.int64).min
"""A number or time that is not there; a text that is not there has the number -1."""

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "machines": ("machine_id", "source", "name", "key", "position", "recorded_at"),
    "disks": (
        *("disk_id", "machine_id", "label", "size_bytes", "tracking", "excluded_reason", "way_out"),
        *("position", "recorded_at"),
    ),
    "restore_points": (
        *("restore_point_id", "machine_id", "machine", "source", "run_id", "origin", "result", "consistency"),
        *("disks", "left_out", "size_bytes", "changed_bytes", "stored_bytes", "recorded_at", "position"),
        *("left_out_disks", "taken_at"),
    ),
    "disk_points": (
        *("disk_id", "machine_id", "restore_point_id", "label", "seq", "parent_seq", "level", "cause", "size_bytes"),
        *("chunk_bytes", "changed_bytes", "read_bytes", "new_chunks", "stored_bytes", "chunk_rows", "zero_blocks"),
        *("extent_rows", "recorded_at", "position"),
    ),
    "verifications": ("restore_point_id", "level", "result", "recorded_at", "position"),
    "deletions": ("restore_point_id", "actor", "rule", "reason", "kept_for", "recorded_at", "position"),
}
"""What is kept in memory of each table."""

ALWAYS = ("machines", "disks", "restore_points", "verifications", "deletions")
"""Tables that are read at once; so whoever asks at a position finds all machines and points of it in `words`."""

VOCABULARY = {"machine_id": "machine", "disk_id": "disk", "restore_point_id": "point", "run_id": "run"}
"""Columns whose texts are counted apart, so that the numbers are dense; all others share `word`."""


class Words:
    """Texts numbered in the order of their appearance; they only become more. Written by one thread at a time."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._numbers: dict[str, int] = {}
        self._ids: dict[int, UUID] = {}
        self._heads = np.empty(0, np.int64)

    def __len__(self) -> int:
        return len(self.texts)

    def find(self, text: str) -> int:
        """The number of a text, -1 if it never appeared."""
        return self._numbers.get(text, -1)

    def id(self, number: int) -> UUID:
        """A text as the identifier that it is."""
        found = self._ids.get(number)
        if found is None:
            found = self._ids[number] = UUID(self.texts[number])
        return found

    def heads(self) -> NDArray[np.int64]:
        """The first 12 hex digits of each identifier, as a number."""
        heads = self._heads
        if len(heads) < len(self.texts):
            new = (int(text[:8] + text[9:13], 16) for text in self.texts[len(heads) :])
            heads = self._heads = np.concatenate([heads, np.fromiter(new, np.int64)])
        return heads

    def starting_with(self, digits: str) -> list[int]:
        """The numbers of the identifiers that start with these hex digits."""
        low, high = int(digits[:12].ljust(12, "0"), 16), int(digits[:12].ljust(12, "f"), 16)
        heads = self.heads()
        near = np.flatnonzero((heads >= low) & (heads <= high)).tolist()
        return [number for number in near if self.id(number).hex.startswith(digits)]

    def numbers(self, column: pa.ChunkedArray) -> NDArray[np.int64]:
        """The number of each text of a column, new ones getting the next; -1 for null."""
        encoded = column.combine_chunks().dictionary_encode()
        if isinstance(encoded, pa.ChunkedArray):
            encoded = encoded.combine_chunks()
        table = np.full(len(encoded.dictionary) + 1, -1, np.int64)
        for index, text in enumerate(encoded.dictionary.to_pylist()):
            number = self._numbers.get(text)
            if number is None:
                number = len(self.texts)
                self.texts.append(text)
                self._numbers[text] = number
            table[index] = number
        found: NDArray[np.int64] = table[pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False)]
        return found


@dataclass(frozen=True, slots=True)
class Table:
    """The first rows of a table, ascending by `position`: each column int64[rows], texts as numbers."""

    rows: int
    columns: Mapping[str, NDArray[np.int64]]

    def __getitem__(self, column: str) -> NDArray[np.int64]:
        return self.columns[column]

    def until(self, position: int) -> Table:
        """The rows of events up to a position."""
        rows = int(np.searchsorted(self.columns["position"], position, "right"))
        return Table(rows, {name: values[:rows] for name, values in self.columns.items()})


class _Growing:
    """A column with room at its end: what was handed out stays as it is while more is added behind it."""

    def __init__(self) -> None:
        self._values = np.empty(0, np.int64)
        self._used = 0

    def add(self, values: NDArray[np.int64]) -> None:
        needed = self._used + len(values)
        if needed > len(self._values):
            grown = np.empty(max(needed, 2 * len(self._values)), np.int64)
            grown[: self._used] = self._values[: self._used]
            self._values = grown
        self._values[self._used : needed] = values
        self._used = needed

    def view(self) -> NDArray[np.int64]:
        values = self._values[: self._used]
        values.flags.writeable = False
        return values


class Warm:
    """The tables of one lake; `position` is how far they go. Safe to use from several threads.

    Whoever adds to `words` holds `lock`.
    """

    def __init__(self, lake: Lake) -> None:
        self.words: Mapping[str, Words] = {kind: Words() for kind in (*VOCABULARY.values(), "word")}
        self.position = 0
        self.lock = threading.Lock()
        self._lake = lake
        self._columns: dict[str, dict[str, _Growing]] = {}
        self._tables: dict[str, Table] = {}

    def refresh(self) -> int:
        """Read on to the newest snapshot; return its position. Raises Conflict when the index went back."""
        with self.lock:
            head = self._lake.catalog.head()
            if head.position == self.position:
                return head.position
            if head.position < self.position:
                raise Conflict(
                    f"the index went back from {self.position} to {head.position}",
                    code="index-replaced",
                    why="it was rebuilt, or another one was put in its place",
                    hint="open it again",
                )
            for name in {*ALWAYS, *self._tables}:
                self._read(name, self.position, head.position)
            self.position = head.position
            return head.position

    def table(self, name: str) -> Table:
        """A table up to `position` at least; `refresh` was called before."""
        found = self._tables.get(name)
        if found is not None:
            return found
        with self.lock:
            if name not in self._tables:
                self._read(name, 0, self.position)
            return self._tables[name]

    def _read(self, name: str, behind: int, to: int) -> None:
        """Add the rows of the events from `behind` (excluded) up to `to`; any later snapshot has them too."""
        columns = self._columns.setdefault(name, {column: _Growing() for column in COLUMNS[name]})
        if to > behind:
            where = {"position": (behind + 1, to)}
            batches = list(self._lake.read(name, COLUMNS[name], where=where))
            if batches:
                self._add(name, columns, batches)
        views = {column: values.view() for column, values in columns.items()}
        self._tables[name] = Table(len(views["position"]), views)

    def _add(self, name: str, columns: Mapping[str, _Growing], batches: Sequence[pa.RecordBatch]) -> None:
        rows = pa.Table.from_batches(batches)
        order = np.argsort(rows.column("position").to_numpy(), kind="stable")
        for column, values in columns.items():
            values.add(self._numbers(name, column, rows.column(column))[order])

    def _numbers(self, table: str, column: str, values: pa.ChunkedArray) -> NDArray[np.int64]:
        if BY_NAME[table].column(column).type == "varchar":
            return self.words[VOCABULARY.get(column, "word")].numbers(values)
        found: NDArray[np.int64] = pc.fill_null(values.cast(pa.int64()), NULL).to_numpy()
        return found

"""Grain tables of a stream-optimised VMDK: what must come, what came, and which part of the disk is complete.

Imports `adapters.port` and this package only. A part is complete when every grain that its table names has come from
exactly where the table says; only then its extents are told.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

from adapters.port import Extent
from adapters.vmware.transport.sparseheader import AT_END, SECTOR, SparseHeader, corrupt


def unpack_table(data: bytes, count: int) -> tuple[int, ...]:
    """Return `count` sector numbers."""
    return struct.unpack_from(f"<{count}I", data)


def named_grains(table: bytes, header: SparseHeader) -> dict[int, int]:
    """Return the places of the grains that a table names, by their entries."""
    zeros = {0, 1} if header.zero_entries else {0}
    return {at: place for at, place in enumerate(unpack_table(table, header.table_entries)) if place not in zeros}


class TableExtents:
    """Turns tables, in order, into the extents of the disk; zeros are merged, and data within a table."""

    def __init__(self, header: SparseHeader) -> None:
        self._header = header
        self._held: Extent | None = None
        self.next_table = 0

    def add(self, table: int, present: Iterable[int]) -> Iterator[Extent]:
        """Yield what is complete with `table`, of which the entries `present` are data; tables before it are zero."""
        first, done = table * self._header.table_entries, self.next_table * self._header.table_entries
        for entry in sorted(present):
            yield from self._span(done, first + entry, zero=True)
            done = first + entry + 1
            yield from self._span(first + entry, done, zero=False)
        yield from self._span(done, first + self._header.table_entries, zero=True)
        self.next_table = table + 1
        if self._held is not None and not self._held.zero:
            yield self._held  # who waits for data need not wait for the next table
            self._held = None

    def finish(self) -> Iterator[Extent]:
        """Yield the rest of the disk."""
        yield from self._span(self.next_table * self._header.table_entries, self._header.capacity, zero=True)
        if self._held is not None:
            yield self._held

    def _span(self, first: int, end: int, *, zero: bool) -> Iterator[Extent]:
        """Add the grains from `first` to before `end`."""
        unit, capacity = self._header.grain * SECTOR, self._header.capacity * SECTOR
        start, stop = min(first * unit, capacity), min(end * unit, capacity)
        if start == stop:
            return
        if self._held is not None and self._held.zero == zero:
            self._held = Extent(self._held.start, stop - self._held.start, zero)
            return
        if self._held is not None:
            yield self._held
        self._held = Extent(start, stop - start, zero)


class TablesFirst:
    """The tables stand before the grains, all of them: each grain is checked as it comes."""

    def __init__(self, header: SparseHeader, head: bytes) -> None:
        self._header = header
        self._head = head
        self._extents = TableExtents(header)
        self._directories = [
            unpack_table(self._cut(place, header.directory_sectors), header.tables)
            for place in (header.directory_at, header.second_directory_at)
            if place is not None
        ]
        self._missing: dict[int, dict[int, int]] = {}

    def grain(self, number: int, place: int) -> Iterator[Extent]:
        """Take a grain that came from sector `place`; yield what is complete with it."""
        table, entry = divmod(number, self._header.table_entries)
        if table < self._extents.next_table or self._missing_of(table).pop(entry, None) != place:
            raise corrupt("a grain is not where its grain table says, or came twice")
        yield from self._complete()

    def table(self, data: bytes, place: int) -> Iterator[Extent]:
        """Refuse: the tables have come already."""
        raise corrupt(f"a grain table of {len(data)} bytes comes a second time at sector {place}")

    def directory(self, data: bytes, place: int) -> None:
        """Refuse: the directory has come already."""
        raise corrupt(f"a grain directory of {len(data)} bytes comes a second time at sector {place}")

    def footer(self, footer: SparseHeader) -> None:
        """Refuse: the header says that there is none."""
        raise corrupt(f"a footer comes that its header does not announce ({footer.capacity} sectors)")

    def end(self, *, marked: bool) -> Iterator[Extent]:
        """Check that every grain came; a writer that puts its tables first may leave the end unmarked."""
        del marked
        yield from self._complete()
        if self._extents.next_table < self._header.tables:
            raise corrupt("it ends before all of its grains came")
        yield from self._extents.finish()

    def _complete(self) -> Iterator[Extent]:
        while (table := self._extents.next_table) < self._header.tables and not self._missing_of(table):
            del self._missing[table]
            yield from self._extents.add(table, self._named(table))

    def _missing_of(self, table: int) -> dict[int, int]:
        """Return the entries of a table that is not complete, whose grains have not come, with their places."""
        if table not in self._missing:
            self._missing[table] = self._named(table)
        return self._missing[table]

    def _named(self, table: int) -> dict[int, int]:
        first, *others = (self._cut(directory[table], self._header.table_sectors) for directory in self._directories)
        if any(other != first for other in others):
            raise corrupt("its two copies of a grain table differ")
        return named_grains(first, self._header)

    def _cut(self, place: int, sectors: int) -> bytes:
        data = self._head[place * SECTOR : (place + sectors) * SECTOR]
        if not place or len(data) < sectors * SECTOR:
            raise corrupt("its grain directory or a grain table is outside of its head")
        return data


class TablesAfter:
    """Each table follows its grains, then come directory, footer and end: a server's own way."""

    def __init__(self, header: SparseHeader) -> None:
        self._header = header
        self._extents = TableExtents(header)
        self._current: int | None = None
        self._came: dict[int, int] = {}
        self._places = [0] * header.tables
        self._empty: set[int] = set()
        self._directory_at: int | None = None
        self._footer = False

    def grain(self, number: int, place: int) -> Iterator[Extent]:
        """Take a grain that came from sector `place`; nothing is complete before its table came."""
        table, entry = divmod(number, self._header.table_entries)
        if self._current is None and table >= self._extents.next_table:
            self._current = table
        if table != self._current or entry in self._came or self._directory_at is not None:
            raise corrupt("its grains are not in the order of their tables, or one came twice")
        self._came[entry] = place
        return iter(())

    def table(self, data: bytes, place: int) -> Iterator[Extent]:
        """Take the table of the grains before it; yield what is complete with it."""
        if named_grains(data, self._header) != self._came or self._directory_at is not None:
            raise corrupt("a grain table names other grains than came before it")
        if self._current is None:
            self._empty.add(place)
            return
        self._places[self._current] = place
        yield from self._extents.add(self._current, self._came)
        self._current, self._came = None, {}

    def directory(self, data: bytes, place: int) -> None:
        """Take the grain directory: it must name exactly the tables that came."""
        named = unpack_table(data, self._header.tables)
        wrong = any(
            at != came and not (came == 0 and at in self._empty) for at, came in zip(named, self._places, strict=True)
        )
        if wrong or self._current is not None or self._directory_at is not None:
            raise corrupt("its grain directory names other grain tables than came before it")
        self._directory_at = place

    def footer(self, footer: SparseHeader) -> None:
        """Take the footer: the header, but for the place of the directory."""
        told = (footer.capacity, footer.grain, footer.table_entries, footer.directory_at)
        if told != (self._header.capacity, self._header.grain, self._header.table_entries, self._directory_at):
            raise corrupt("its footer contradicts its header or the place of its grain directory")
        self._footer = True

    def end(self, *, marked: bool) -> Iterator[Extent]:
        """Check that directory, footer and end came; yield the rest of the disk."""
        if not marked or not self._footer:
            raise corrupt("it ends without its footer")
        yield from self._extents.finish()


def tables_of(header: SparseHeader, head: bytes) -> TablesFirst | TablesAfter:
    """Return how this stream tells which grains there are."""
    return TablesAfter(header) if header.directory_at == AT_END else TablesFirst(header, head)

"""A VHD as it arrives: its tables first, then its blocks in the order in which they lie. Imports `adapters` only.

Nothing behind the current block is kept. The stream is whole when it ends with the footer that it began with. What the
tables leave out is zeros in a whole disk, and unchanged in one that was asked for relative to another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from adapters.errors import SourceCorrupt
from adapters.port import Extent
from adapters.virtualdisk.vhdfooter import DIFFERENCING, DYNAMIC, SECTOR, Footer, read_footer, read_header
from adapters.xen.transport.rawstream import cut_short

Read = Callable[[int], bytes]
Write = Callable[[int, memoryview], None]

_ABSENT = 0xFFFFFFFF
_HEADER_BYTES = 1024
_MOST_ENTRIES = 1 << 22
_MOST_BEHIND = 64 << 20
_PIECE = 1 << 20


def decode_vhd(read: Read, write: Write, size_bytes: int, name: str, *, relative: bool = False) -> Iterator[Extent]:
    """Yield the disk in order, gapless, what the stream has as data, once it was written; the rest as zeros.

    `relative` takes a differencing VHD, too. Raises SourceCorrupt for a stream that is cut or contradicts itself, or
    is of a disk of another size; after the last extent, too.
    """
    stream = _Stream(read, name)
    first = stream.take(SECTOR)
    footer = read_footer(_Bytes(first), name)
    if footer.kind != DYNAMIC and not (relative and footer.kind == DIFFERENCING):
        raise stream.malformed(f"it is a VHD of kind {footer.kind}")
    if footer.size_bytes != size_bytes:
        raise stream.malformed(f"its disk has {footer.size_bytes} bytes instead of {size_bytes}")
    block_bytes, table = _table(stream, footer, name)
    arriving = _Blocks(size_bytes, block_bytes, table)
    for number in arriving.order:
        stream.skip_to(int(table[number]) * SECTOR)
        bitmap = stream.take(-(-block_bytes // SECTOR // 8 // SECTOR) * SECTOR)
        data = memoryview(stream.take(block_bytes))
        start = number * block_bytes
        for at, end in arriving.arrived(number, bitmap):
            write(start + at, data[at:end])
        yield from arriving.known()
    yield from arriving.rest()
    stream.end_with(first)


def _table(stream: _Stream, footer: Footer, name: str) -> tuple[int, npt.NDArray[np.int64]]:
    """Read the size of blocks, and where they lie, in sectors."""
    stream.skip_to(footer.header_offset)
    raw = stream.take(_HEADER_BYTES)
    # The paths to a parent do not matter, and lie elsewhere in the stream: read as if there were none.
    header = read_header(_Bytes(raw), replace(footer, kind=DYNAMIC, header_offset=0), name)
    blocks = -(-footer.size_bytes // header.block_bytes)
    if blocks > _MOST_ENTRIES:
        raise stream.malformed("its blocks are too small for its disk")
    stream.skip_to(header.table_offset)
    return header.block_bytes, np.frombuffer(stream.take(4 * blocks), ">u4").astype(np.int64)


class _Blocks:
    """Which blocks came, which will come, and so up to where the disk is known."""

    def __init__(self, size_bytes: int, block_bytes: int, table: npt.NDArray[np.int64]) -> None:
        self._size = size_bytes
        self._block_bytes = block_bytes
        present = np.flatnonzero(table != _ABSENT)
        ordered = present[np.argsort(table[present], kind="stable")]
        self.order: list[int] = ordered.tolist()
        # The lowest block of those behind each: all before it are known once that one came.
        behind = np.minimum.accumulate(np.append(ordered, len(table))[::-1])[::-1]
        self._known_after: list[int] = behind[1:].tolist()
        self._came = 0
        self._runs: dict[int, list[tuple[int, int]]] = {}
        self._told_bytes = 0
        self._blocks = len(table)

    def arrived(self, number: int, bitmap: bytes) -> list[tuple[int, int]]:
        """Note a block; returns the parts of it, as [start, end), that its bitmap says it has."""
        inside = min(self._block_bytes, self._size - number * self._block_bytes)
        sectors = self._block_bytes // SECTOR
        bits = np.unpackbits(np.frombuffer(bitmap, np.uint8))[:sectors]
        edges = np.flatnonzero(np.diff(np.concatenate(([0], bits, [0])).astype(np.int8))) * SECTOR
        runs = [(int(at), min(int(end), inside)) for at, end in edges.reshape(-1, 2) if at < inside]
        self._runs[number] = runs
        self._came += 1
        return runs

    def known(self) -> Iterator[Extent]:
        """Yield what became known since it was asked last."""
        yield from self._up_to(self._known_after[self._came - 1])

    def rest(self) -> Iterator[Extent]:
        """Yield what is left once every block came."""
        yield from self._up_to(self._blocks)

    def _up_to(self, end_block: int) -> Iterator[Extent]:
        end = min(end_block * self._block_bytes, self._size)
        if end == self._told_bytes:
            return
        for number in sorted(number for number in self._runs if number < end_block):
            start = number * self._block_bytes
            for at, stop in self._runs.pop(number):
                yield from self._gap(start + at)
                yield Extent(start + at, stop - at, zero=False)
                self._told_bytes = start + stop
        yield from self._gap(end)

    def _gap(self, end: int) -> Iterator[Extent]:
        if end > self._told_bytes:
            yield Extent(self._told_bytes, end - self._told_bytes, zero=True)
            self._told_bytes = end


class _Stream:
    """Bytes in order, with their position."""

    def __init__(self, read: Read, name: str) -> None:
        self._read = read
        self._name = name
        self._position = 0

    def take(self, length: int) -> bytes:
        """Return the next `length` bytes."""
        pieces, missing = [], length
        while missing:
            piece = self._read(min(missing, _PIECE))
            if not piece:
                raise cut_short(self._name, self._position + length - missing)
            pieces.append(piece)
            missing -= len(piece)
        self._position += length
        return b"".join(pieces)

    def skip_to(self, position: int) -> None:
        """Pass over bytes that mean nothing."""
        if position < self._position:
            raise self.malformed("its parts overlap")
        while self._position < position:
            self.take(min(position - self._position, _PIECE))

    def end_with(self, footer: bytes) -> None:
        """Read to the end, whose last sector must be `footer`."""
        tail, behind = b"", 0
        while piece := self._read(_PIECE):
            tail, behind = (tail + piece)[-SECTOR:], behind + len(piece)
            if behind > _MOST_BEHIND:
                raise self.malformed("it does not end")
        if tail != footer:
            error = self.malformed("it does not end with its footer")
            raise error if len(tail) == SECTOR else cut_short(self._name, self._position + behind)

    def malformed(self, why: str) -> SourceCorrupt:
        """Build the error of a stream that is no VHD of the disk."""
        return SourceCorrupt(f"The exported stream of {self._name} is not whole", code="export-malformed", why=why)


class _Bytes:
    """A few bytes as a file that the reader of tables takes."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.size_bytes = len(content)

    def pread_into(self, offset: int, buffer: memoryview) -> None:
        """Fill `buffer`; the reader stays inside."""
        buffer[:] = self._content[offset : offset + len(buffer)]

    def close(self) -> None:
        """Nothing is held."""

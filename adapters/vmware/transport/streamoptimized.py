"""Decodes a stream-optimised VMDK as it arrives. Imports `adapters.errors`, `adapters.port` and this package only.

Everything the format lets one check is checked: places, tables, directory, footer, sizes and each grain's checksum. A
stream that breaks it, or ends early, is SourceCorrupt. Grains are kept one at a time.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator

from adapters.port import Extent
from adapters.vmware.transport.graintables import TablesAfter, TablesFirst, tables_of
from adapters.vmware.transport.sparseheader import SECTOR, SparseHeader, corrupt, parse_header

Read = Callable[[int], bytes]
"""Returns at most so many bytes, and none at the end."""

Write = Callable[[int, bytes], None]
"""Takes the disk's bytes at an offset."""

_GRAIN = struct.Struct("<QI")
_MARKER = struct.Struct("<QII")
_PIECE_BYTES = 1 << 20
_END, _TABLE, _DIRECTORY, _FOOTER = range(4)


def decode(read: Read, write: Write, size_bytes: int) -> Iterator[Extent]:
    """Yield the disk's extents in order, gapless, each after its data was written and checked.

    The disk must have exactly `size_bytes`. Raises SourceCorrupt, and what `read` and `write` raise.
    """
    stream = _Sectors(read)
    header = parse_header(stream.take(1))
    if header.capacity * SECTOR != size_bytes:
        raise corrupt(f"it holds a disk of {header.capacity * SECTOR} bytes instead of {size_bytes}")
    head = stream.take(header.overhead - 1)
    tables = tables_of(header, bytes(SECTOR) + head)
    while True:
        place, sector = stream.place, stream.next()
        if sector is None:
            yield from tables.end(marked=False)
            return
        number, length, kind = _MARKER.unpack_from(sector)
        if length:
            offset, data = _grain(stream, header, sector)
            write(offset, data)
            yield from tables.grain(number // header.grain, place)
        elif kind == _END:
            stream.only_zeros()
            yield from tables.end(marked=True)
            return
        else:
            yield from _metadata(stream, header, tables, number, kind)


def _grain(stream: _Sectors, header: SparseHeader, sector: bytes) -> tuple[int, bytes]:
    """Take the rest of a grain and return its offset and bytes."""
    number, length = _GRAIN.unpack_from(sector)
    grain_bytes = header.grain * SECTOR
    if number % header.grain or number >= header.capacity or length > 2 * grain_bytes:
        raise corrupt("a grain is outside the disk, or longer than it can be")
    whole = sector + stream.take(-(-(_GRAIN.size + length) // SECTOR) - 1)
    inflate = zlib.decompressobj()
    try:
        data = inflate.decompress(memoryview(whole)[_GRAIN.size : _GRAIN.size + length], grain_bytes + 1)
    except zlib.error as error:
        raise corrupt(f"a grain does not decompress: {error}") from None
    inside = min(header.grain, header.capacity - number) * SECTOR
    if not inflate.eof or inflate.unused_data or len(data) not in {inside, grain_bytes}:
        raise corrupt("a grain has another length than it must have")
    return number * SECTOR, data[:inside]


def _metadata(
    stream: _Sectors, header: SparseHeader, tables: TablesFirst | TablesAfter, sectors: int, kind: int
) -> Iterator[Extent]:
    lengths = {_TABLE: header.table_sectors, _DIRECTORY: header.directory_sectors, _FOOTER: 1}
    if lengths.get(kind) != sectors:
        raise corrupt(f"a marker of kind {kind} announces {sectors} sectors")
    place, data = stream.place, stream.take(sectors)
    if kind == _TABLE:
        yield from tables.table(data, place)
    elif kind == _DIRECTORY:
        tables.directory(data, place)
    else:
        tables.footer(parse_header(data))


class _Sectors:
    """The stream in whole sectors; `place` is the number of the next one."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self.place = 0

    def take(self, sectors: int) -> bytes:
        """Return exactly so many sectors, or raise."""
        data = self._up_to(sectors * SECTOR)
        if len(data) < sectors * SECTOR:
            raise corrupt("it ends early")
        return data

    def next(self) -> bytes | None:
        """Return the next sector, None at the stream's end."""
        data = self._up_to(SECTOR)
        if data and len(data) < SECTOR:
            raise corrupt("it ends within a sector")
        return data or None

    def only_zeros(self) -> None:
        """Read to the end: padding is the only thing that may come."""
        while piece := self._read(_PIECE_BYTES):
            if any(piece):
                raise corrupt("something comes behind its end")

    def _up_to(self, length: int) -> bytes:
        pieces = bytearray()
        while len(pieces) < length:
            piece = self._read(min(length - len(pieces), _PIECE_BYTES))
            if not piece:
                break
            pieces += piece
        self.place += -(-len(pieces) // SECTOR)
        return bytes(pieces)

"""The header of a stream-optimised VMDK. Imports `adapters.errors` only.

Format: "Virtual Disk Format 5.0" of VMware; a footer is a second header. Only what a stream can be decoded with is
accepted.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from adapters.errors import SourceCorrupt

SECTOR = 512
AT_END = 0xFFFFFFFFFFFFFFFF
"""The place of a grain directory that comes at the end of the stream."""

_HEADER = struct.Struct("<4sIIQQQQIQQQB4sH")
_REDUNDANT = 0x2
_COMPRESSED_WITH_MARKERS = 0x30000
_ZERO_ENTRIES = 0x4
_DEFLATE = 1
_MAX_CAPACITY = (64 << 40) // SECTOR
_MAX_OVERHEAD = (1 << 30) // SECTOR
_MAX_GRAIN = 2048


@dataclass(frozen=True, slots=True)
class SparseHeader:
    """Sizes and places in sectors.

    `second_directory_at` is None without a second copy of the tables. `zero_entries`: an entry of 1 says that its
    grain is zero.
    """

    capacity: int
    grain: int
    table_entries: int
    directory_at: int
    second_directory_at: int | None
    overhead: int
    zero_entries: bool

    @property
    def tables(self) -> int:
        """How many grain tables the disk has."""
        return -(-self.capacity // (self.grain * self.table_entries))

    @property
    def table_sectors(self) -> int:
        """How many sectors a grain table takes."""
        return -(-self.table_entries * 4 // SECTOR)

    @property
    def directory_sectors(self) -> int:
        """How many sectors the grain directory takes."""
        return -(-self.tables * 4 // SECTOR)


def parse_header(sector: bytes) -> SparseHeader:
    """Parse a header or footer. Raises SourceCorrupt."""
    (
        magic,
        version,
        flags,
        capacity,
        grain,
        _,
        _,
        entries,
        second_at,
        directory_at,
        overhead,
        _,
        newlines,
        algorithm,
    ) = _HEADER.unpack_from(sector)
    if magic != b"KDMV" or newlines != b"\n \r\n":
        raise corrupt("its header has not the format's marks")
    if not 1 <= version <= 3 or flags & _COMPRESSED_WITH_MARKERS != _COMPRESSED_WITH_MARKERS or algorithm != _DEFLATE:
        raise corrupt("it is not stream-optimised")
    if not 0 < capacity <= _MAX_CAPACITY or not 0 < overhead <= _MAX_OVERHEAD:
        raise corrupt("its sizes are impossible")
    if not 8 <= grain <= _MAX_GRAIN or grain & (grain - 1) or not 128 <= entries <= 4096 or entries & (entries - 1):
        raise corrupt("its grains or grain tables have an impossible size")
    return SparseHeader(
        capacity=capacity,
        grain=grain,
        table_entries=entries,
        directory_at=directory_at,
        second_directory_at=second_at if flags & _REDUNDANT else None,
        overhead=overhead,
        zero_entries=bool(flags & _ZERO_ENTRIES),
    )


def corrupt(why: str) -> SourceCorrupt:
    """Build the error of a stream that breaks the format."""
    return SourceCorrupt("The exported disk is malformed", code="vmdk-malformed", why=why)

"""A disk as a stream of VHD, fixed or dynamic, for what takes no more than one pass over it.

Imports `adapters.errors`, `adapters.port` and its own package only. A dynamic stream holds the blocks with data only,
in the order of the disk; its length is known before it begins.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from uuid import UUID

import numpy as np

from adapters.errors import SourceInvalid
from adapters.port import DiskImage
from adapters.virtualdisk.vhdfooter import (
    COOKIE,
    DYNAMIC,
    FIXED,
    FOOTER_SUM_AT,
    HEADER_BYTES,
    HEADER_COOKIE,
    HEADER_SUM_AT,
    MOST_DISK_BYTES,
    SECTOR,
    checksum,
)
from adapters.virtualdisk.writer import held_blocks

BLOCK_BYTES = 2 << 20
_BITMAP = b"\xff" * (BLOCK_BYTES // SECTOR // 8)
_NONE = (1 << 64) - 1
_ABSENT = 0xFFFFFFFF
_EPOCH = 946_684_800  # 2000-01-01, in Unix time


class VhdStream:
    """The bytes of a VHD, `length_bytes` of them, in pieces of about 2 MiB; may be gone through again."""

    def __init__(self, image: DiskImage, identity: UUID, unix_seconds: int, *, dynamic: bool) -> None:
        size = image.size_bytes
        if not 0 < size <= MOST_DISK_BYTES or size % SECTOR:
            raise SourceInvalid(
                f"A disk of {size} bytes does not fit into a VHD",
                code="vhd-size",
                why=f"its size must be a multiple of {SECTOR}, and {MOST_DISK_BYTES} at most",
            )
        self._image = image
        self._dynamic = dynamic
        self._footer = _footer(size, identity, unix_seconds, dynamic)
        self._held = held_blocks(image, BLOCK_BYTES)
        table_bytes = -(-4 * self._held.size // SECTOR) * SECTOR
        self._blocks_at = SECTOR + HEADER_BYTES + table_bytes
        stored = int(self._held.sum()) * (len(_BITMAP) + BLOCK_BYTES)
        self.length_bytes = (self._blocks_at + stored if dynamic else size) + SECTOR

    def __iter__(self) -> Iterator[bytes]:
        """Yield the pieces. Raises what the image does."""
        if self._dynamic:
            yield self._footer + self._header() + self._table()
        for block, held in enumerate(self._held.tolist()):
            start = block * BLOCK_BYTES
            length = min(BLOCK_BYTES, self._image.size_bytes - start)
            if held:
                data = self._read(start, length)
                yield _BITMAP + data.ljust(BLOCK_BYTES, b"\0") if self._dynamic else data
            elif not self._dynamic:
                yield bytes(length)
        yield self._footer

    def _read(self, start: int, length: int) -> bytes:
        data = bytearray(length)
        self._image.pread_into(start, memoryview(data))
        return bytes(data)

    def _header(self) -> bytes:
        places = (HEADER_COOKIE, _NONE, SECTOR + HEADER_BYTES, 0x10000, self._held.size, BLOCK_BYTES)
        return _summed(struct.pack(">8sQQIII", *places).ljust(HEADER_BYTES, b"\0"), HEADER_SUM_AT)

    def _table(self) -> bytes:
        stride = (len(_BITMAP) + BLOCK_BYTES) // SECTOR
        places = (np.cumsum(self._held) - 1) * stride + self._blocks_at // SECTOR
        table = np.where(self._held, places, _ABSENT).astype(">u4").tobytes()
        return table.ljust(self._blocks_at - SECTOR - HEADER_BYTES, b"\xff")


def _footer(size: int, identity: UUID, unix_seconds: int, dynamic: bool) -> bytes:
    # Readers take the size from the geometry, which is coarser, unless they know the creator for one that means it.
    creator = (b"win ", 0xA0000, b"Wi2k")
    head = struct.pack(
        ">8sIIQI4sI4sQQ",
        COOKIE,
        2,
        0x10000,
        SECTOR if dynamic else _NONE,
        max(unix_seconds - _EPOCH, 0),
        *creator,
        size,
        size,
    )
    kind = struct.pack(">HBBII16s", *_geometry(size // SECTOR), DYNAMIC if dynamic else FIXED, 0, identity.bytes)
    return _summed((head + kind).ljust(SECTOR, b"\0"), FOOTER_SUM_AT)


def _geometry(sectors: int) -> tuple[int, int, int]:
    """Cylinders, heads and sectors a track as the format's specification computes them."""
    sectors = min(sectors, 65535 * 16 * 255)
    if sectors >= 65535 * 16 * 63:
        return sectors // 255 // 16, 16, 255
    tracks = sectors // 17
    heads = max((tracks + 1023) // 1024, 4)
    per_track = 17
    if tracks >= heads * 1024 or heads > 16:
        per_track, heads = 31, 16
        tracks = sectors // per_track
    if tracks >= heads * 1024:
        per_track = 63
        tracks = sectors // per_track
    return tracks // heads, heads, per_track


def _summed(content: bytes, at: int) -> bytes:
    return content[:at] + struct.pack(">I", checksum(content, at)) + content[at + 4 :]

"""A differencing VHD of what differs between two raw disks of one size, in blocks of 2 MiB, as a pool exports it.

Written for tests after the published format; dynamic ones are made by QEMU.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID, uuid5

BLOCK_BYTES = 2 << 20
SECTOR = 512
_SPACE = UUID("6f1d6d0e-1d51-4c2c-9e0f-2b6a4a1f5b10")


def summed(raw: bytes, at: int) -> bytes:
    """Put the ones' complement of the sum of all bytes at `at`."""
    return raw[:at] + struct.pack(">I", ~sum(raw) & 0xFFFFFFFF) + raw[at + 4 :]


def footer(size_bytes: int, kind: int, name: str) -> bytes:
    """512 bytes; `kind` 3 is dynamic, 4 differencing. Geometry is left out: nobody who knows current sizes reads it."""
    identity = uuid5(_SPACE, name).bytes
    head = struct.pack(
        ">8sIIQI4sIIQQII", b"conectix", 2, 0x10000, SECTOR, 0, b"tap\0", 1 << 16, 0, size_bytes, size_bytes, 0, kind
    )
    return summed((head + bytes(4) + identity).ljust(SECTOR, b"\0"), 64)


def delta(base: Path, disk: Path) -> Iterator[bytes]:
    """Yield the stream: tables, the blocks that differ with all their sectors, and the footer again."""
    size = disk.stat().st_size
    blocks = -(-size // BLOCK_BYTES)
    differing = [number for number in range(blocks) if _block(base, number) != _block(disk, number)]
    yield from tables(footer(size, 4, str(disk)), blocks, differing, parent=uuid5(_SPACE, str(base)))
    for number in differing:
        yield bytes([255]) * SECTOR + _block(disk, number).ljust(BLOCK_BYTES, b"\0")
    yield footer(size, 4, str(disk))


def tables(foot: bytes, blocks: int, present: list[int], *, parent: UUID | None = None) -> Iterator[bytes]:
    """Yield the copy of the footer, the header and the table of blocks, which lie in the order of `present`."""
    yield foot
    head = struct.pack(">8sQQIII", b"cxsparse", 2**64 - 1, 1536, 0x10000, blocks, BLOCK_BYTES)
    yield summed((head + bytes(4) + (parent.bytes if parent else bytes(16))).ljust(1024, b"\0"), 36)
    table_bytes = -(-4 * blocks // SECTOR) * SECTOR
    first = (1536 + table_bytes) // SECTOR
    places = dict.fromkeys(range(blocks), 0xFFFFFFFF)
    places |= {number: first + at * (BLOCK_BYTES // SECTOR + 1) for at, number in enumerate(present)}
    yield struct.pack(f">{blocks}I", *places.values()).ljust(table_bytes, b"\xff")


def _block(path: Path, number: int) -> bytes:
    with open(path, "rb") as file:
        file.seek(number * BLOCK_BYTES)
        return file.read(BLOCK_BYTES)

"""Makes and changes VHD files, dynamic and differencing, as Windows and Xen do; big-endian.

Naive on purpose, and apart from `adapters/`: the other side that our reader is tested against. Children find their
parents beside them.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO, Self
from uuid import UUID, uuid4

SECTOR, MIB = 512, 1 << 20
BLOCK = 2 * MIB
BITMAP = 512
FREE = 0xFFFFFFFF
DYNAMIC, DIFFERENCING = 3, 4
HEADER_AT, LOCATORS_AT, TABLE_AT = 512, 1536, 2560


def create(path: Path, size_bytes: int) -> None:
    """Make an empty dynamic disk."""
    _make(path, size_bytes, DYNAMIC, bytes(16), "")


def create_child(path: Path, parent: Path, *, relative: str | None = None) -> None:
    """Make a differencing disk."""
    with VhdFile(parent) as base:
        _make(path, base.size, DIFFERENCING, base.identity.bytes, relative or f".\\{parent.name}")


def write(path: Path, offset: int, data: bytes) -> None:
    """Write whole sectors; only their bits of the block's bitmap are set in a child, all of them in a dynamic disk."""
    with VhdFile(path, writing=True) as file:
        for at in range(0, len(data), SECTOR):
            file.write_sector((offset + at) // SECTOR, data[at : at + SECTOR])


def content(path: Path) -> bytes:
    """Return the whole disk."""
    with VhdFile(path) as file:
        sectors = bytearray(content(file.parent).ljust(file.size, b"\0") if file.parent else bytes(file.size))
        for sector in range(file.size // SECTOR):
            held = file.read_sector(sector)
            if held is not None:
                sectors[sector * SECTOR : (sector + 1) * SECTOR] = held
        return bytes(sectors[: file.size])


class VhdFile:
    """One open file."""

    def __init__(self, path: Path, *, writing: bool = False) -> None:
        self._file: BinaryIO = path.open("r+b" if writing else "rb")
        footer = self.get(0, 512)
        self.size, self.kind = struct.unpack_from(">Q", footer, 48)[0], struct.unpack_from(">I", footer, 60)[0]
        self.identity = UUID(bytes=footer[68:84])
        blocks = -(-self.size // BLOCK)
        self._table = list(struct.unpack(f">{blocks}I", self.get(TABLE_AT, 4 * blocks)))
        self.parent: Path | None = None
        if self.kind == DIFFERENCING:
            name = self.get(LOCATORS_AT, 512).decode("utf-16-le").partition("\0")[0]
            self.parent = path.parent / name.removeprefix(".\\").replace("\\", "/")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def get(self, offset: int, length: int) -> bytes:
        """Return bytes of the file."""
        self._file.seek(offset)
        return self._file.read(length)

    def put(self, offset: int, data: bytes) -> None:
        """Write bytes of the file."""
        self._file.seek(offset)
        self._file.write(data)

    def read_sector(self, sector: int) -> bytes | None:
        """Return a sector that this file holds."""
        block, within = divmod(sector, BLOCK // SECTOR)
        if self._table[block] == FREE:
            return None
        at = self._table[block] * SECTOR
        if not self.get(at + within // 8, 1)[0] & 0x80 >> within % 8:
            return None
        return self.get(at + BITMAP + within * SECTOR, SECTOR)

    def write_sector(self, sector: int, data: bytes) -> None:
        """Write a sector, allocating its block."""
        block, within = divmod(sector, BLOCK // SECTOR)
        if self._table[block] == FREE:
            end = self._file.seek(0, 2) - 512
            footer = self.get(end, 512)
            self.put(end, (b"\xff" if self.kind == DYNAMIC else b"\0") * BITMAP + bytes(BLOCK) + footer)
            self._table[block] = end // SECTOR
            self.put(TABLE_AT + 4 * block, struct.pack(">I", end // SECTOR))
        at = self._table[block] * SECTOR
        bits = self.get(at + within // 8, 1)[0] | 0x80 >> within % 8
        self.put(at + within // 8, bytes([bits]))
        self.put(at + BITMAP + within * SECTOR, data)


def with_sum(content: bytes, at: int) -> bytes:
    """Fill in the checksum at `at`."""
    blank = content[:at] + bytes(4) + content[at + 4 :]
    return content[:at] + struct.pack(">I", ~sum(blank) & 0xFFFFFFFF) + content[at + 4 :]


def _make(path: Path, size_bytes: int, kind: int, parent: bytes, relative: str) -> None:
    identity = uuid4().bytes
    cylinders = min(size_bytes // SECTOR // 16 // 63, 65535)
    footer = struct.pack(
        ">8sIIQI4sI4sQQHBBII16s",
        b"conectix",
        2,
        0x10000,
        HEADER_AT,
        0,
        b"win ",
        0xA0000,
        b"Wi2k",
        size_bytes,
        size_bytes,
        cylinders,
        16,
        63,
        kind,
        0,
        identity,
    )
    footer = with_sum(footer.ljust(512, b"\0"), 64)
    blocks = -(-size_bytes // BLOCK)
    words = relative.encode("utf-16-le")
    header = struct.pack(">8sQQIIII16sII", b"cxsparse", 2**64 - 1, TABLE_AT, 0x10000, blocks, BLOCK, 0, parent, 0, 0)
    header = header.ljust(64, b"\0") + relative.removeprefix(".\\").encode("utf-16-be").ljust(512, b"\0")
    if words:
        header += struct.pack(">4sIIIQ", b"W2ru", 1, len(words), 0, LOCATORS_AT)
    table = (struct.pack(">I", FREE) * blocks).ljust(-(-4 * blocks // SECTOR) * SECTOR, b"\xff")
    with path.open("xb") as file:
        file.write(footer + with_sum(header.ljust(1024, b"\0"), 36) + words.ljust(1024, b"\0") + table + footer)

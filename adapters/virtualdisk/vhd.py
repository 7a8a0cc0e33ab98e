"""One VHD file as a layer of a chain. Imports its own package only.

A block begins with the bitmap of its sectors, the first sector the highest bit; a sector whose bit is not set is the
parent's, and of a disk without one reads as zeros.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from adapters.errors import SourceCorrupt
from adapters.virtualdisk.blocks import PARTIAL
from adapters.virtualdisk.damage import damaged, part
from adapters.virtualdisk.file import RandomFile
from adapters.virtualdisk.locator import ParentLocator
from adapters.virtualdisk.runs import OWN, PARENT, ZERO, Flags, Numbers, Sources
from adapters.virtualdisk.vhdfooter import FIXED, SECTOR, DynamicHeader, Footer, read_footer, read_header

_ABSENT = 0xFFFFFFFF
_FIXED_BLOCK_BYTES = 256 << 20
_MOST_ENTRIES = 1 << 22
_KEPT_BITMAPS = 256


def open_vhd(path: str, file: RandomFile) -> FixedVhd | DynamicVhd:
    """Read a file's tables. Raises SourceCorrupt, SourceInvalid for a kind of VHD that is none of the three."""
    footer = read_footer(file, path)
    if footer.kind == FIXED:
        return FixedVhd(path, file, footer)
    return DynamicVhd(path, file, footer, read_header(file, footer, path))


class FixedVhd:
    """A raw disk with a footer; see `blocks.Layer`."""

    format = "vhd"
    block_bytes = _FIXED_BLOCK_BYTES
    sector_bytes = SECTOR
    locator: ParentLocator | None = None
    unset = ZERO

    def __init__(self, path: str, file: RandomFile, footer: Footer) -> None:
        if footer.size_bytes > file.size_bytes - SECTOR:
            raise damaged(path, "vhd-footer", f"its disk has {footer.size_bytes} bytes, the file less")
        self.path = path
        self.file = file
        self.size_bytes = footer.size_bytes
        self.identity = self.linkage = str(footer.identity)

    def blocks(self, first: int, count: int) -> tuple[Sources, Numbers]:
        """Every byte is where it is in the disk."""
        return np.full(count, OWN, dtype=np.int16), np.arange(first, first + count, dtype=np.int64) * self.block_bytes

    def sectors(self, block: int, first: int, count: int) -> Flags:
        """No block is partial."""
        return np.ones(count, dtype=np.bool_)


class DynamicVhd:
    """A dynamic or differencing disk; see `blocks.Layer`. Safe to use from several threads."""

    format = "vhd"
    sector_bytes = SECTOR

    def __init__(self, path: str, file: RandomFile, footer: Footer, header: DynamicHeader) -> None:
        self.path = path
        self.file = file
        self.size_bytes = footer.size_bytes
        self.identity = self.linkage = str(footer.identity)
        self.block_bytes = header.block_bytes
        self.locator = header.locator
        self.unset = PARENT if header.locator else ZERO
        self._bitmap_bytes = -(-header.block_bytes // SECTOR // 8 // SECTOR) * SECTOR
        blocks = -(-footer.size_bytes // header.block_bytes)
        if blocks > _MOST_ENTRIES:
            raise damaged(path, "vhd-header", f"its blocks of {header.block_bytes} bytes are too small for its disk")
        raw = part(file, path, header.table_offset, 4 * blocks, "vhd-bat")
        self._entries: npt.NDArray[np.int64] = np.frombuffer(raw, dtype=">u4").astype(np.int64)
        self._check()
        self._bitmap = lru_cache(maxsize=_KEPT_BITMAPS)(self._read_bitmap)

    def blocks(self, first: int, count: int) -> tuple[Sources, Numbers]:
        """Look the blocks' entries up; what is there may be there in part."""
        entries = self._entries[first : first + count]
        sources = np.where(entries == _ABSENT, np.int16(self.unset), np.int16(PARTIAL))
        return sources, entries * SECTOR + self._bitmap_bytes

    def sectors(self, block: int, first: int, count: int) -> Flags:
        """Read the block's bitmap."""
        raw = np.frombuffer(self._bitmap(block), np.uint8)
        bits = np.unpackbits(raw[first // 8 : -(-(first + count) // 8)], bitorder="big")
        return bits[first % 8 : first % 8 + count].astype(np.bool_)

    def _read_bitmap(self, block: int) -> bytes:
        return part(self.file, self.path, int(self._entries[block]) * SECTOR, self._bitmap_bytes, "vhd-bat")

    def _check(self) -> None:
        """Refuse blocks outside of the file, on its header or on each other."""
        held = np.flatnonzero(self._entries != _ABSENT)
        offsets = self._entries[held] * SECTOR
        needed = np.minimum(self.block_bytes, self.size_bytes - held * self.block_bytes) + self._bitmap_bytes
        if np.any(offsets < SECTOR) or np.any(offsets > self.file.size_bytes - needed):
            raise self._bad("an entry leads out of the file")
        order = np.argsort(offsets)
        if np.any(np.diff(offsets[order]) < needed[order][:-1]):
            raise self._bad("two entries lead to the same place")

    def _bad(self, why: str) -> SourceCorrupt:
        return damaged(self.path, "vhd-bat", why)

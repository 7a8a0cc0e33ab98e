"""One VHDX file as a layer of a chain: its block allocation table and sector bitmaps.

Imports its own package only. The table is read in pieces of 4 MiB, one for all but the largest disks, and each is
checked before it is used: entries must be sensible, within the file, and not overlap.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from adapters.errors import SourceCorrupt
from adapters.virtualdisk.blocks import PARTIAL
from adapters.virtualdisk.damage import damaged, part
from adapters.virtualdisk.file import RandomFile
from adapters.virtualdisk.runs import OWN, PARENT, ZERO, Flags, Numbers, Sources
from adapters.virtualdisk.vhdxheaders import MIB, Region, current_header, read_regions
from adapters.virtualdisk.vhdxlog import replayed
from adapters.virtualdisk.vhdxmetadata import Metadata, read_metadata

_PIECE_ENTRIES = 1 << 19
_KEPT_PIECES = 4
_BITMAP_SECTORS = 1 << 23
_BITMAP_PIECE = 64 << 10
_KEPT_BITMAPS = 32
_FULL, _PARTIAL = 6, 7
_RESERVED = ((1 << 20) - 1) & ~7
_OFFSET = ~((1 << 20) - 1) & (1 << 64) - 1

Entries = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class _Geometry:
    """How entries of payload blocks and of bitmaps stand in the table."""

    blocks: int
    ratio: int
    differencing: bool

    @property
    def entries(self) -> int:
        """How many entries the table must have."""
        if self.differencing:
            return -(-self.blocks // self.ratio) * (self.ratio + 1)
        return self.blocks + (self.blocks - 1) // self.ratio


def open_vhdx(path: str, file: RandomFile) -> VhdxLayer:
    """Read a file's tables, its log applied in memory. Raises SourceCorrupt, SourceInvalid, SourceLimit."""
    header = current_header(file, path)
    whole = replayed(file, header, path)
    regions = read_regions(whole, path)
    metadata = read_metadata(whole, regions.metadata, path)
    taken = (regions.bat, regions.metadata, *([header.log] if header.log.length else []))
    return VhdxLayer(path, whole, metadata, str(header.data_write_guid), regions.bat, taken)


class VhdxLayer:
    """See `blocks.Layer`. Safe to use from several threads."""

    format = "vhdx"

    def __init__(
        self, path: str, file: RandomFile, metadata: Metadata, linkage: str, bat: Region, taken: tuple[Region, ...]
    ) -> None:
        self.path = path
        self.file = file
        self.identity = str(metadata.identity)
        self.linkage = linkage
        self.size_bytes = metadata.size_bytes
        self.block_bytes = metadata.block_bytes
        self.sector_bytes = metadata.sector_bytes
        self.locator = metadata.locator
        self.unset = PARENT if metadata.locator else ZERO
        self._bat = bat
        self._taken = taken
        ratio = _BITMAP_SECTORS * metadata.sector_bytes // metadata.block_bytes
        self._shape = _Geometry(-(-metadata.size_bytes // metadata.block_bytes), ratio, metadata.locator is not None)
        if self._shape.entries * 8 > bat.length:
            raise damaged(path, "vhdx-bat", f"its table of {bat.length} bytes is too short for the disk")
        self._sources = np.array([self.unset, ZERO, ZERO, ZERO, ZERO, ZERO, OWN, PARTIAL], dtype=np.int16)
        self._piece = lru_cache(maxsize=_KEPT_PIECES)(self._read_piece)
        self._bitmap = lru_cache(maxsize=_KEPT_BITMAPS)(self._read_bitmap)
        self._piece(0)

    def blocks(self, first: int, count: int) -> tuple[Sources, Numbers]:
        """Look the blocks' entries up."""
        ratio = self._shape.ratio
        start = first + first // ratio
        last = first + count - 1
        entries = self._entries(start, last + last // ratio + 1 - start)
        if entries.size != count:
            numbers = np.arange(first, first + count)
            entries = entries[numbers + numbers // ratio - start]
        sources = self._sources[(entries & np.uint64(7)).astype(np.intp)]
        return sources, (entries & np.uint64(_OFFSET)).astype(np.int64)

    def sectors(self, block: int, first: int, count: int) -> Flags:
        """Read the block's part of its sector bitmap, in which the first sector is the lowest bit."""
        chunk, within = divmod(block, self._shape.ratio)
        bit = within * (self.block_bytes // self.sector_bytes) + first
        start, end = bit // 8, -(-(bit + count) // 8)
        pieces = range(start // _BITMAP_PIECE, (end - 1) // _BITMAP_PIECE + 1)
        raw = b"".join(self._bitmap(chunk, piece) for piece in pieces)
        skipped = pieces[0] * _BITMAP_PIECE
        bits = np.unpackbits(np.frombuffer(raw, np.uint8)[start - skipped : end - skipped], bitorder="little")
        return bits[bit % 8 : bit % 8 + count].astype(np.bool_)

    def _entries(self, start: int, count: int) -> Entries:
        pieces = range(start // _PIECE_ENTRIES, (start + count - 1) // _PIECE_ENTRIES + 1)
        parts = [self._piece(piece) for piece in pieces]
        found = parts[0] if len(parts) == 1 else np.concatenate(parts)
        skipped = start - pieces[0] * _PIECE_ENTRIES
        return found[skipped : skipped + count]

    def _read_piece(self, piece: int) -> Entries:
        """Read and check a piece of the table."""
        start = piece * _PIECE_ENTRIES
        count = min(_PIECE_ENTRIES, self._shape.entries - start)
        raw = part(self.file, self.path, self._bat.offset + 8 * start, 8 * count, "vhdx-bat")
        entries: Entries = np.frombuffer(raw, dtype="<u8")
        if np.any(entries & np.uint64(_RESERVED)):
            raise self._bad("an entry has reserved bits set")
        stride = self._shape.ratio + 1
        payload = np.ones(count, dtype=np.bool_)
        payload[(self._shape.ratio - start) % stride :: stride] = False
        places = np.flatnonzero(payload)
        states = entries[places] & np.uint64(7)
        if np.any((states == 4) | (states == 5)) or (not self._shape.differencing and np.any(states == _PARTIAL)):
            raise self._bad("an entry has a state that it cannot have")
        held = places[states >= _FULL]
        numbers = start + held
        self._check_places((entries[held] & np.uint64(_OFFSET)).astype(np.int64), numbers - numbers // stride)
        return entries

    def _check_places(self, offsets: Numbers, blocks: Numbers) -> None:
        """Refuse blocks outside of the file, on its tables or on each other."""
        if not offsets.size:
            return
        needed = np.minimum(self.block_bytes, self.size_bytes - blocks * self.block_bytes)
        if offsets.min() < MIB or np.any(offsets > self.file.size_bytes - needed):
            raise self._bad("an entry leads out of the file")
        for region in self._taken:
            if np.any((offsets < region.offset + region.length) & (offsets + needed > region.offset)):
                raise self._bad("an entry leads into its own tables")
        order = np.argsort(offsets)
        if np.any(np.diff(offsets[order]) < needed[order][:-1]):
            raise self._bad("two entries lead to the same place")

    def _read_bitmap(self, chunk: int, piece: int) -> bytes:
        index = chunk * (self._shape.ratio + 1) + self._shape.ratio
        entry = int(self._entries(index, 1)[0])
        offset = entry & _OFFSET
        if entry & 7 != _FULL or offset < MIB:
            raise self._bad("a block is there in part, and does not say which part")
        return part(self.file, self.path, offset + piece * _BITMAP_PIECE, _BITMAP_PIECE, "vhdx-bat")

    def _bad(self, why: str) -> SourceCorrupt:
        return damaged(self.path, "vhdx-bat", why)

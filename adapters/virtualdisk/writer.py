"""Writes a disk as a dynamic VHDX, for a restore. Imports `adapters.errors`, `adapters.port` and its own package.

Blocks without data stay unallocated. The identifier and the headers come last, so that a file that was not finished
is no VHDX; its log is empty.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Protocol
from uuid import UUID, uuid4

import google_crc32c
import numpy as np
import numpy.typing as npt

from adapters.errors import SourceInvalid
from adapters.port import DiskImage
from adapters.virtualdisk.vhdxheaders import IDENTIFIER, MIB
from adapters.virtualdisk.vhdxmetadata import MOST_DISK_BYTES

BLOCK_BYTES = 32 * MIB  # what Windows takes

_LOG_OFFSET = 1 * MIB
_METADATA_OFFSET = 2 * MIB
_BAT_OFFSET = 3 * MIB
_ITEMS_OFFSET = 64 << 10
_PIECE_BYTES = 2 * MIB
_FULL = 6
_BITMAP_SECTORS = 1 << 23
_PHYSICAL_SECTOR_BYTES = 4096


class Sink(Protocol):
    """A new file to write into."""

    def resize(self, size_bytes: int) -> None:
        """Set the file's size: what is not written reads as zeros."""

    def write_at(self, offset: int, data: memoryview | bytes) -> None:
        """Write all of it, or raise."""


def write_vhdx(
    image: DiskImage,
    sink: Sink,
    *,
    identity: UUID | None = None,
    sector_bytes: int = 512,
    block_bytes: int = BLOCK_BYTES,
    new_id: Callable[[], UUID] = uuid4,
    written: Callable[[int], None] = lambda _: None,
) -> None:
    """Write `image`; `identity` is the disk's, a new one without. `written` is told how many bytes of it went.

    Raises SourceInvalid for a size that no VHDX can have, and what the image and the sink do.
    """
    size = image.size_bytes
    if not 0 < size <= MOST_DISK_BYTES or size % sector_bytes:
        raise SourceInvalid(
            f"A disk of {size} bytes does not fit into a VHDX",
            code="vhdx-size",
            why=f"its size must be a multiple of {sector_bytes}, and {MOST_DISK_BYTES} at most",
        )
    held = held_blocks(image, block_bytes)
    bat = _table(held, block_bytes, sector_bytes)
    bat_bytes = _whole_mib(bat.nbytes)
    start = _BAT_OFFSET + bat_bytes
    places = np.where(held, (np.cumsum(held) - 1) * block_bytes + start, 0)
    sink.resize(start + int(held.sum()) * block_bytes)
    for offset, data in data_pieces(image, block_bytes):
        block, within = divmod(offset, block_bytes)
        sink.write_at(int(places[block]) + within, data)
        written(len(data))
    _fill(bat, places, held, block_bytes, sector_bytes)
    sink.write_at(_BAT_OFFSET, bat.tobytes())
    sink.write_at(_METADATA_OFFSET, _metadata(size, identity or new_id(), sector_bytes, block_bytes))
    for offset in (192 << 10, 256 << 10):
        sink.write_at(offset, _regions(bat_bytes))
    file_id, data_id = new_id(), new_id()
    for sequence, offset in enumerate((64 << 10, 128 << 10), start=1):
        sink.write_at(offset, _header(sequence, file_id, data_id))
    sink.write_at(0, IDENTIFIER + "Holdfast".encode("utf-16-le"))


def held_blocks(image: DiskImage, block_bytes: int) -> npt.NDArray[np.bool_]:
    """Say which blocks of the disk have data."""
    held = np.zeros(-(-image.size_bytes // block_bytes), dtype=np.bool_)
    for extent in image.extents():
        if not extent.zero:
            held[extent.start // block_bytes : -(-extent.end // block_bytes)] = True
    return held


def data_pieces(image: DiskImage, block_bytes: int) -> Iterator[tuple[int, memoryview]]:
    """Yield the disk's data in order, cut at blocks; a piece is good until the next one is asked for."""
    buffer = memoryview(bytearray(min(_PIECE_BYTES, block_bytes)))
    for extent in image.extents():
        position = extent.end if extent.zero else extent.start
        while position < extent.end:
            block_end = (position // block_bytes + 1) * block_bytes
            piece = buffer[: min(len(buffer), min(extent.end, block_end) - position)]
            image.pread_into(position, piece)
            yield position, piece
            position += len(piece)


def _table(held: npt.NDArray[np.bool_], block_bytes: int, sector_bytes: int) -> npt.NDArray[np.uint64]:
    """An empty block allocation table, with room for the entries of bitmaps, of which there are none."""
    ratio = _BITMAP_SECTORS * sector_bytes // block_bytes
    return np.zeros(held.size + (held.size - 1) // ratio, dtype="<u8")


def _fill(
    bat: npt.NDArray[np.uint64],
    places: npt.NDArray[np.int64],
    held: npt.NDArray[np.bool_],
    block_bytes: int,
    sector_bytes: int,
) -> None:
    ratio = _BITMAP_SECTORS * sector_bytes // block_bytes
    blocks = np.flatnonzero(held)
    bat[blocks + blocks // ratio] = (places[blocks] | _FULL).astype(np.uint64)


def _metadata(size: int, identity: UUID, sector_bytes: int, block_bytes: int) -> bytes:
    items = [
        ("caa16737-fa36-4d43-b3b6-33f0aa44e76b", 4, struct.pack("<II", block_bytes, 0)),
        ("2fa54224-cd1b-4876-b211-5dbed83bf4b8", 6, struct.pack("<Q", size)),
        ("beca12ab-b2e6-4523-93ef-c309e000c746", 6, identity.bytes_le),
        ("8141bf1d-a96f-4709-ba47-f233a8faab5f", 6, struct.pack("<I", sector_bytes)),
        ("cda348c7-445d-4471-9cc9-e9885251c556", 6, struct.pack("<I", _PHYSICAL_SECTOR_BYTES)),
    ]
    table, content = struct.pack("<8sHH20x", b"metadata", 0, len(items)), b""
    for guid, flags, item in items:
        place = _ITEMS_OFFSET + len(content)
        table += struct.pack("<16sIIII", UUID(guid).bytes_le, place, len(item), flags, 0)
        content += item
    return table.ljust(_ITEMS_OFFSET, b"\0") + content


def _regions(bat_bytes: int) -> bytes:
    bat = struct.pack("<16sQII", UUID("2dc27766-f623-4200-9d64-115e9bfd4a08").bytes_le, _BAT_OFFSET, bat_bytes, 1)
    metadata = UUID("8b7ca206-4790-4b9a-b8fe-575f050f886e").bytes_le
    table = struct.pack("<4sIII", b"regi", 0, 2, 0) + bat + struct.pack("<16sQII", metadata, _METADATA_OFFSET, MIB, 1)
    return _checksummed(table.ljust(64 << 10, b"\0"))


def _header(sequence: int, file_id: UUID, data_id: UUID) -> bytes:
    head = struct.pack("<4sIQ16s16s16x", b"head", 0, sequence, file_id.bytes_le, data_id.bytes_le)
    return _checksummed((head + struct.pack("<HHIQ", 0, 1, MIB, _LOG_OFFSET)).ljust(4 << 10, b"\0"))


def _checksummed(content: bytes) -> bytes:
    return content[:4] + struct.pack("<I", google_crc32c.value(content)) + content[8:]


def _whole_mib(length: int) -> int:
    return -(-length // MIB) * MIB

"""How a VHDX file is put together, byte by byte, for fixtures; written from the specification, apart from our reader.

Everything is little-endian. A file of ours: identifier, two headers and two region tables in the first MiB, the log
in the second, metadata in the third, then the BAT and the blocks, all aligned to a MiB.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from uuid import UUID

import google_crc32c

KIB, MIB = 1 << 10, 1 << 20
HEADER_OFFSETS = (64 * KIB, 128 * KIB)
REGION_OFFSETS = (192 * KIB, 256 * KIB)
LOG_OFFSET, LOG_BYTES = MIB, MIB
METADATA_OFFSET, METADATA_BYTES = 2 * MIB, MIB
ITEMS_OFFSET = 64 * KIB
SECTORS_IN_BITMAP = 1 << 23
NOT_PRESENT, UNDEFINED, ZERO, UNMAPPED, FULL, PARTIAL = 0, 1, 2, 3, 6, 7
NO_GUID = UUID(int=0)

BAT_REGION = UUID("2DC27766-F623-4200-9D64-115E9BFD4A08")
METADATA_REGION = UUID("8B7CA206-4790-4B9A-B8FE-575F050F886E")
FILE_PARAMETERS = UUID("CAA16737-FA36-4D43-B3B6-33F0AA44E76B")
DISK_SIZE = UUID("2FA54224-CD1B-4876-B211-5DBED83BF4B8")
DISK_ID = UUID("BECA12AB-B2E6-4523-93EF-C309E000C746")
LOGICAL_SECTOR = UUID("8141BF1D-A96F-4709-BA47-F233A8FAAB5F")
PHYSICAL_SECTOR = UUID("CDA348C7-445D-4471-9CC9-E9885251C556")
PARENT_LOCATOR = UUID("A8D35F2D-B30B-454D-ABF7-D3D84834AB0C")
VHDX_LOCATOR = UUID("B04AEFB7-D19E-4A81-B789-25B8E9445913")

_HEADER = struct.Struct("<4sIQ16s16s16sHHIQ")


@dataclass(frozen=True, slots=True)
class Header:
    """What changes at each opening for writing."""

    sequence: int
    file_write: UUID
    data_write: UUID
    log: UUID = NO_GUID
    log_bytes: int = LOG_BYTES
    log_offset: int = LOG_OFFSET

    def pack(self) -> bytes:
        """Return the 4 KiB that stand in the file."""
        guids = (self.file_write.bytes_le, self.data_write.bytes_le, self.log.bytes_le)
        fixed = _HEADER.pack(b"head", 0, self.sequence, *guids, 0, 1, self.log_bytes, self.log_offset)
        return with_checksum(fixed.ljust(4 * KIB, b"\0"))


def unpack_header(page: bytes) -> Header | None:
    """Read a header, None when it is not valid."""
    signature, _, sequence, file_write, data_write, log, _, _, log_bytes, log_offset = _HEADER.unpack_from(page)
    if signature != b"head" or with_checksum(page) != page:
        return None
    guids = (UUID(bytes_le=file_write), UUID(bytes_le=data_write), UUID(bytes_le=log))
    return Header(sequence, *guids, log_bytes, log_offset)


def with_checksum(content: bytes) -> bytes:
    """Fill in the CRC-32C at offset 4, which counts as zero itself."""
    blank = content[:4] + bytes(4) + content[8:]
    return content[:4] + struct.pack("<I", google_crc32c.value(blank)) + content[8:]


def identifier(creator: str = "holdfast tests") -> bytes:
    """The file's first bytes."""
    return b"vhdxfile" + creator.encode("utf-16-le")


def region_table(bat_offset: int, bat_bytes: int) -> bytes:
    """The 64 KiB that say where the BAT and the metadata are."""
    regions = [(BAT_REGION, bat_offset, bat_bytes), (METADATA_REGION, METADATA_OFFSET, METADATA_BYTES)]
    packed = b"".join(struct.pack("<16sQII", guid.bytes_le, *place, 1) for guid, *place in regions)
    return with_checksum((struct.pack("<4sIII", b"regi", 0, len(regions), 0) + packed).ljust(64 * KIB, b"\0"))


def metadata_region(items: dict[UUID, bytes]) -> bytes:
    """The metadata table and its items, without the rest of their MiB."""
    table, content = b"", b""
    for guid, item in items.items():
        virtual_disk = guid in {DISK_SIZE, DISK_ID, LOGICAL_SECTOR, PHYSICAL_SECTOR}
        flags = 4 | (2 if virtual_disk else 0)
        table += struct.pack("<16sIIII", guid.bytes_le, ITEMS_OFFSET + len(content), len(item), flags, 0)
        content += item
    head = struct.pack("<8sHH20x", b"metadata", 0, len(items))
    return (head + table).ljust(ITEMS_OFFSET, b"\0") + content


def unpack_metadata(region: bytes) -> dict[UUID, bytes]:
    """Read the items back."""
    count = struct.unpack_from("<H", region, 10)[0]
    items = {}
    for number in range(count):
        guid, offset, length = struct.unpack_from("<16sII", region, 32 + 32 * number)
        items[UUID(bytes_le=guid)] = region[offset : offset + length]
    return items


def locator(entries: dict[str, str]) -> bytes:
    """A parent locator of these keys and values."""
    head, words = b"", b""
    start = 20 + 12 * len(entries)
    for key, value in entries.items():
        first, second = key.encode("utf-16-le"), value.encode("utf-16-le", errors="surrogatepass")
        place = start + len(words)
        head += struct.pack("<IIHH", place, place + len(first), len(first), len(second))
        words += first + second
    return struct.pack("<16sHH", VHDX_LOCATOR.bytes_le, 0, len(entries)) + head + words


def unpack_locator(item: bytes) -> dict[str, str]:
    """Read a parent locator of ours back."""
    entries = {}
    for number in range(struct.unpack_from("<H", item, 18)[0]):
        key, value, key_bytes, value_bytes = struct.unpack_from("<IIHH", item, 20 + 12 * number)
        name = item[key : key + key_bytes].decode("utf-16-le")
        entries[name] = item[value : value + value_bytes].decode("utf-16-le")
    return entries


def chunk_ratio(sector_bytes: int, block_bytes: int) -> int:
    """How many blocks share one bitmap."""
    return SECTORS_IN_BITMAP * sector_bytes // block_bytes


def bat_entries(size_bytes: int, block_bytes: int, sector_bytes: int) -> int:
    """How many entries a BAT has room for; as many as a differencing disk needs, which is more than others do."""
    ratio = chunk_ratio(sector_bytes, block_bytes)
    blocks = -(-size_bytes // block_bytes)
    return -(-blocks // ratio) * (ratio + 1)


def whole_mib(length: int) -> int:
    """Round up to a MiB."""
    return -(-length // MIB) * MIB

"""A VHDX file's identifier, headers and region table. Imports its own package only.

The header that counts is the one with a right CRC-32C and the higher sequence number. The region table may be in the
log, and is to be read through it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from uuid import UUID

import google_crc32c

from adapters.errors import SourceInvalid
from adapters.virtualdisk.damage import damaged, part
from adapters.virtualdisk.file import RandomFile, read_bytes

IDENTIFIER = b"vhdxfile"
MIB = 1 << 20
NO_GUID = UUID(int=0)

_HEADER_OFFSETS = (64 << 10, 128 << 10)
_HEADER_BYTES = 4 << 10
_HEADER = struct.Struct("<4s4xQ16x16s16sHHIQ")
_REGION_OFFSETS = (192 << 10, 256 << 10)
_REGION_BYTES = 64 << 10
_REGION_HEAD = struct.Struct("<4s4xI4x")
_REGION = struct.Struct("<16sQII")
_MOST_REGIONS = 2047
_BAT = UUID("2dc27766-f623-4200-9d64-115e9bfd4a08")
_METADATA = UUID("8b7ca206-4790-4b9a-b8fe-575f050f886e")


@dataclass(frozen=True, slots=True)
class Region:
    """A range of the file."""

    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class Header:
    """What counts of a header; `log_guid` is None when the log is empty."""

    sequence: int
    data_write_guid: UUID
    log_guid: UUID | None
    log: Region


@dataclass(frozen=True, slots=True)
class Regions:
    """Where the block allocation table and the metadata are."""

    bat: Region
    metadata: Region


def checksum_is_right(content: bytes) -> bool:
    """Say whether the CRC-32C at offset 4 is that of the content, in which it counts as zero."""
    computed: int = google_crc32c.value(content[:4] + bytes(4) + content[8:])
    return computed == int.from_bytes(content[4:8], "little")


def current_header(file: RandomFile, path: str) -> Header:
    """Choose the header. Raises SourceCorrupt when there is none, SourceInvalid for a version that we do not know."""
    valid = []
    for offset in _HEADER_OFFSETS:
        page = part(file, path, offset, _HEADER_BYTES, "vhdx-header")
        if page.startswith(b"head") and checksum_is_right(page):
            valid.append(page)
    if not valid:
        raise damaged(path, "vhdx-header", "neither of its headers has a right checksum")
    headers = sorted((_header(page, path) for page in valid), key=lambda header: header.sequence)
    # Some tools write the same header twice; two that differ may not claim to be equally new.
    if len(headers) == 2 and headers[0].sequence == headers[1].sequence and valid[0] != valid[1]:
        raise damaged(path, "vhdx-header", "its two headers differ and are equally new")
    return headers[-1]


def _header(page: bytes, path: str) -> Header:
    _, sequence, data_write, log_guid, log_version, version, log_bytes, log_offset = _HEADER.unpack_from(page)
    if version != 1 or log_version != 0:
        raise SourceInvalid(
            f"{path} is of a newer kind of VHDX", code="vhdx-version", why=f"version {version}, log {log_version}"
        )
    guid = UUID(bytes_le=log_guid)
    log = Region(log_offset, log_bytes)
    return Header(sequence, UUID(bytes_le=data_write), guid if guid != NO_GUID else None, log)


def read_regions(file: RandomFile, path: str) -> Regions:
    """Read the region table. Raises SourceCorrupt, SourceInvalid for a region that we must know and do not."""
    for offset in _REGION_OFFSETS:
        if offset + _REGION_BYTES <= file.size_bytes:
            table = read_bytes(file, offset, _REGION_BYTES)
            if table.startswith(b"regi") and checksum_is_right(table):
                return _regions(table, file, path)
    raise damaged(path, "vhdx-region", "neither of its region tables has a right checksum")


def _regions(table: bytes, file: RandomFile, path: str) -> Regions:
    _, count = _REGION_HEAD.unpack_from(table)
    if count > _MOST_REGIONS:
        raise damaged(path, "vhdx-region", f"it claims {count} regions")
    known: dict[UUID, Region] = {}
    for number in range(count):
        name, offset, length, required = _REGION.unpack_from(table, _REGION_HEAD.size + number * _REGION.size)
        guid = UUID(bytes_le=name)
        if guid not in {_BAT, _METADATA}:
            if required & 1:
                raise SourceInvalid(f"{path} has a region we do not know", code="vhdx-region", why=str(guid))
            continue
        if guid in known:
            raise damaged(path, "vhdx-region", f"region {guid} is there twice")
        if offset % MIB or offset < MIB or length % MIB or not length or offset + length > file.size_bytes:
            raise damaged(path, "vhdx-region", f"region {guid} is at {offset}, {length} bytes long")
        known[guid] = Region(offset, length)
    if len(known) != 2:
        raise damaged(path, "vhdx-region", "it does not say where its tables are")
    return Regions(known[_BAT], known[_METADATA])

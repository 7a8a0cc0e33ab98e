"""The footer and header of a VHD file, big-endian with a sum of bytes as checksum. Imports its own package only.

The disk's size is the footer's current size, as Hyper-V and Xen have it; the geometry is for old guests.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID

from adapters.errors import SourceInvalid
from adapters.virtualdisk.damage import damaged, part
from adapters.virtualdisk.file import RandomFile
from adapters.virtualdisk.locator import ParentLocator

COOKIE = b"conectix"
SECTOR = 512
FIXED, DYNAMIC, DIFFERENCING = 2, 3, 4
HEADER_BYTES = 1024
HEADER_COOKIE = b"cxsparse"
FOOTER_SUM_AT, HEADER_SUM_AT = 64, 36

_FOOTER = struct.Struct(">8s4xIQ24xQ4xI4x16s")
_HEADER = struct.Struct(">8s8xQIII4x16s")
_HEADER_LOCATORS_AT = 576
_LOCATOR = struct.Struct(">4sII4xQ")
_LOCATORS = 8
_MOST_LOCATOR_BYTES = 64 << 10
MOST_DISK_BYTES = 2040 << 30
_PARENT_NAME = slice(64, 576)


@dataclass(frozen=True, slots=True)
class Footer:
    """What a disk says about itself; `header_offset` means nothing for a fixed one."""

    kind: int
    header_offset: int
    size_bytes: int
    identity: UUID


@dataclass(frozen=True, slots=True)
class DynamicHeader:
    """Where the blocks of a dynamic or differencing disk are listed."""

    table_offset: int
    entries: int
    block_bytes: int
    locator: ParentLocator | None


def checksum(content: bytes, at: int) -> int:
    """The ones' complement of the sum of all bytes but the checksum's own, which are at `at`."""
    return ~(sum(content) - sum(content[at : at + 4])) & 0xFFFFFFFF


def read_footer(file: RandomFile, path: str) -> Footer:
    """Read the footer at the end or, when that is damaged, its copy at the start. Raises SourceCorrupt."""
    for offset in (file.size_bytes - SECTOR, 0):
        raw = part(file, path, offset, SECTOR, "vhd-footer")
        right = raw.startswith(COOKIE) and checksum(raw, FOOTER_SUM_AT) == int.from_bytes(raw[64:68], "big")
        if right and (offset or int.from_bytes(raw[60:64], "big") != FIXED):
            return _footer(raw, path)
    raise damaged(path, "vhd-footer", "neither its footer nor the copy of it has a right checksum")


def _footer(raw: bytes, path: str) -> Footer:
    _, version, header_offset, size, kind, identity = _FOOTER.unpack_from(raw)
    if version >> 16 != 1 or kind not in {FIXED, DYNAMIC, DIFFERENCING}:
        raise SourceInvalid(f"{path} is an unknown kind of VHD", code="vhd-version", why=f"{version:#x}, type {kind}")
    if not 0 < size <= MOST_DISK_BYTES or size % SECTOR:
        raise damaged(path, "vhd-footer", f"its disk has {size} bytes")
    return Footer(kind, header_offset, size, UUID(bytes=identity))


def read_header(file: RandomFile, footer: Footer, path: str) -> DynamicHeader:
    """Read the header of a dynamic or differencing disk. Raises SourceCorrupt."""
    raw = part(file, path, footer.header_offset, HEADER_BYTES, "vhd-header")
    if checksum(raw, HEADER_SUM_AT) != int.from_bytes(raw[36:40], "big"):
        raise damaged(path, "vhd-header", "its header's checksum is wrong")
    cookie, table, version, entries, block_bytes, parent = _HEADER.unpack_from(raw)
    if cookie != HEADER_COOKIE or version >> 16 != 1:
        raise damaged(path, "vhd-header", "its header is none that we know")
    # Eight sectors a block at least, so that its bitmap is whole bytes.
    if block_bytes & (block_bytes - 1) or not 4096 <= block_bytes <= 256 << 20:
        raise damaged(path, "vhd-header", f"its blocks have {block_bytes} bytes")
    if entries * block_bytes < footer.size_bytes:
        raise damaged(path, "vhd-header", f"it lists {entries} blocks, too few for its disk")
    locator = None
    if footer.kind == DIFFERENCING:
        locator = _parent_locator(raw, UUID(bytes=parent), file, path)
    return DynamicHeader(table, entries, block_bytes, locator)


def _parent_locator(header: bytes, parent: UUID, file: RandomFile, path: str) -> ParentLocator:
    stated = dict(_locators(header, file, path))
    name = header[_PARENT_NAME].decode("utf-16-be", errors="replace").partition("\0")[0]
    relative = stated.get(b"W2ru") or stated.get(b"MacX")
    return ParentLocator((str(parent),), relative or name or None, None, stated.get(b"W2ku"))


def _locators(header: bytes, file: RandomFile, path: str) -> Iterator[tuple[bytes, str]]:
    """Yield the paths by their platform codes; those of platforms that are not used any more are passed over."""
    for number in range(_LOCATORS):
        code, _, length, offset = _LOCATOR.unpack_from(header, _HEADER_LOCATORS_AT + number * _LOCATOR.size)
        if code not in {b"W2ru", b"W2ku", b"MacX"}:
            continue
        if length > _MOST_LOCATOR_BYTES:
            raise damaged(path, "vhd-locator", f"a path to its parent has {length} bytes")
        raw = part(file, path, offset, length, "vhd-locator")
        encoding = "utf-8" if code == b"MacX" else "utf-16-le"
        yield code, raw.decode(encoding, errors="replace").rstrip("\0").removeprefix("file://")

"""A VHDX file's metadata: what disk it holds, and what it builds on. Imports its own package only."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID

from adapters.errors import SourceInvalid
from adapters.virtualdisk.damage import damaged, part
from adapters.virtualdisk.file import RandomFile
from adapters.virtualdisk.locator import ParentLocator
from adapters.virtualdisk.vhdxheaders import MIB, NO_GUID, Region

MOST_DISK_BYTES = 64 << 40

_TABLE_BYTES = 64 << 10
_TABLE_HEAD = struct.Struct("<8s2xH")
_ENTRY = struct.Struct("<16sIII")
_ENTRIES_AT = 32
_MOST_ENTRIES = 2047
_REQUIRED = 1 << 2
_USER = 1 << 0
_HAS_PARENT = 1 << 1
_LOCATOR_HEAD = struct.Struct("<16s2xH")
_LOCATOR_ENTRY = struct.Struct("<IIHH")
_LOCATOR_TYPE = UUID("b04aefb7-d19e-4a81-b789-25b8e9445913")

_PARAMETERS = UUID("caa16737-fa36-4d43-b3b6-33f0aa44e76b")
_SIZE = UUID("2fa54224-cd1b-4876-b211-5dbed83bf4b8")
_IDENTITY = UUID("beca12ab-b2e6-4523-93ef-c309e000c746")
_LOGICAL = UUID("8141bf1d-a96f-4709-ba47-f233a8faab5f")
_PHYSICAL = UUID("cda348c7-445d-4471-9cc9-e9885251c556")
_LOCATOR = UUID("a8d35f2d-b30b-454d-abf7-d3d84834ab0c")
_ITEM_BYTES = {_PARAMETERS: 8, _SIZE: 8, _IDENTITY: 16, _LOGICAL: 4, _PHYSICAL: 4}


@dataclass(frozen=True, slots=True)
class Metadata:
    """The disk's properties; `locator` is None unless it is a differencing disk."""

    size_bytes: int
    block_bytes: int
    sector_bytes: int
    identity: UUID
    locator: ParentLocator | None


def read_metadata(file: RandomFile, region: Region, path: str) -> Metadata:
    """Read what counts. Raises SourceCorrupt, SourceInvalid for an item that we must know and do not."""
    items = _items(file, region, path)
    missing = _ITEM_BYTES.keys() - {_PHYSICAL} - items.keys()
    if missing:
        raise damaged(path, "vhdx-metadata", f"item {min(missing)} is missing")
    block_bytes, flags = struct.unpack("<II", items[_PARAMETERS])
    size_bytes = int.from_bytes(items[_SIZE], "little")
    sector_bytes = int.from_bytes(items[_LOGICAL], "little")
    if sector_bytes not in {512, 4096}:
        raise damaged(path, "vhdx-metadata", f"its sectors have {sector_bytes} bytes")
    if not MIB <= block_bytes <= 256 * MIB or block_bytes & (block_bytes - 1):
        raise damaged(path, "vhdx-metadata", f"its blocks have {block_bytes} bytes")
    if not 0 < size_bytes <= MOST_DISK_BYTES or size_bytes % sector_bytes:
        raise damaged(path, "vhdx-metadata", f"its disk has {size_bytes} bytes")
    locator = None
    if flags & _HAS_PARENT:
        if _LOCATOR not in items:
            raise damaged(path, "vhdx-metadata", "it builds on another disk and does not say on which")
        locator = _parent_locator(items[_LOCATOR], path)
    return Metadata(size_bytes, block_bytes, sector_bytes, UUID(bytes_le=items[_IDENTITY]), locator)


def _items(file: RandomFile, region: Region, path: str) -> dict[UUID, bytes]:
    """Return the items that we know, by their identifiers."""
    table = part(file, path, region.offset, min(_TABLE_BYTES, region.length), "vhdx-metadata")
    signature, count = _TABLE_HEAD.unpack_from(table)
    if signature != b"metadata" or count > _MOST_ENTRIES:
        raise damaged(path, "vhdx-metadata", "its table of metadata is none")
    items: dict[UUID, bytes] = {}
    for number in range(count):
        name, offset, length, flags = _ENTRY.unpack_from(table, _ENTRIES_AT + number * 32)
        guid = UUID(bytes_le=name)
        known = guid in _ITEM_BYTES or guid == _LOCATOR
        if not known or flags & _USER:
            if flags & _REQUIRED:
                raise SourceInvalid(f"{path} has metadata we do not know", code="vhdx-metadata", why=str(guid))
            continue
        inside = offset >= _TABLE_BYTES and length <= MIB and offset + length <= region.length
        if guid in items or not inside or length != _ITEM_BYTES.get(guid, length):
            raise damaged(path, "vhdx-metadata", f"item {guid} is at {offset}, {length} bytes long, or there twice")
        items[guid] = part(file, path, region.offset + offset, length, "vhdx-metadata")
    return items


def _parent_locator(item: bytes, path: str) -> ParentLocator:
    entries = dict(_locator_entries(item, path))
    named = (entries.get(key) for key in ("parent_linkage", "parent_linkage2"))
    linkages = tuple(guid for guid in map(_guid_text, named) if guid)
    if not linkages:
        raise damaged(path, "vhdx-locator", "it does not say which disk its parent is")
    return ParentLocator(
        linkages, entries.get("relative_path"), entries.get("volume_path"), entries.get("absolute_win32_path")
    )


def _locator_entries(item: bytes, path: str) -> Iterator[tuple[str, str]]:
    if len(item) < _LOCATOR_HEAD.size:
        raise damaged(path, "vhdx-locator", "it is cut off")
    kind, count = _LOCATOR_HEAD.unpack_from(item)
    if UUID(bytes_le=kind) != _LOCATOR_TYPE:
        raise SourceInvalid(f"{path} builds on a disk that is no VHDX", code="vhdx-locator", why="unknown locator type")
    if _LOCATOR_HEAD.size + count * _LOCATOR_ENTRY.size > len(item):
        raise damaged(path, "vhdx-locator", f"it claims {count} entries")
    for number in range(count):
        key, value, key_bytes, value_bytes = _LOCATOR_ENTRY.unpack_from(item, _LOCATOR_HEAD.size + number * 12)
        if key + key_bytes > len(item) or value + value_bytes > len(item):
            raise damaged(path, "vhdx-locator", "an entry is outside of it")
        yield _text(item[key : key + key_bytes]), _text(item[value : value + value_bytes])


def _text(raw: bytes) -> str:
    return raw.decode("utf-16-le", errors="replace").rstrip("\0")


def _guid_text(value: str | None) -> str | None:
    """Spell a GUID as we do; None for none, nonsense and the null GUID."""
    try:
        guid = UUID(value or "")
    except ValueError:
        return None
    return str(guid) if guid != NO_GUID else None

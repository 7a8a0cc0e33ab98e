"""Image formats: by suffix, checked against content, and which further files an image names.

Imports `adapters.errors` only. The suffix decides, never the content alone: a guest writes the first sector
of a raw disk, and a qcow2 header there could name any file of this host. So `.raw` and `.img` are raw
whatever they hold, and another suffix must be confirmed by the format's magic.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import BinaryIO, Final

from adapters.errors import SourceCorrupt, SourceInvalid

RAW: Final = "raw"
SUFFIXES: Final = {
    ".raw": RAW,
    ".img": RAW,
    ".qcow2": "qcow2",
    ".vmdk": "vmdk",
    ".vhdx": "vhdx",
    ".avhdx": "vhdx",
    ".vhd": "vpc",
    ".avhd": "vpc",
}
VIRTUAL: Final = frozenset({"vhdx", "vpc"})
"""What we read ourselves: qemu reads no differencing disk of these formats."""

_QCOW2_HEADER = struct.Struct(">4sIQI4xQI")  # magic, version, backing offset, backing length, size, crypt method
_QCOW2_EXTENSION = struct.Struct(">II")
_QCOW2_BACKING_FORMAT = 0xE2792ACA
_QCOW2_EXTERNAL_DATA = 1 << 2
_VMDK_SPARSE = struct.Struct("<4sIIQQQQ")  # magic, version, flags, capacity, grain, descriptor offset and size
_VMDK_TEXT = b"# Disk DescriptorFile"
_VMDK_EXTENT = re.compile(r'^\s*(?:RW|RDONLY|NOACCESS)\s+\d+\s+\w+\s+"([^"]*)"', re.MULTILINE)
_VMDK_PARENT = re.compile(r'^\s*parentFileNameHint\s*=\s*"([^"]*)"', re.MULTILINE)
_SECTOR = 512
_MAX_DESCRIPTOR_BYTES = 1 << 20
_MAX_NAME_BYTES = 1023
_MAX_HEADER_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class References:
    """What an image names: the image it builds on, with its format if stated, and files that are part of it."""

    backing: str | None = None
    backing_format: str | None = None
    parts: tuple[str, ...] = ()


def has_magic(file: BinaryIO, image_format: str, size_bytes: int) -> bool:
    """Say whether the content is of a format other than raw."""
    start = _at(file, 0, _SECTOR)
    if image_format == "qcow2":
        return start.startswith(b"QFI\xfb")
    if image_format == "vmdk":
        return start.startswith((b"KDMV", b"COWD")) or _VMDK_TEXT in start
    if image_format == "vhdx":
        return start.startswith(b"vhdxfile")
    footer = _at(file, max(size_bytes - _SECTOR, 0), _SECTOR)
    return start.startswith(b"conectix") or footer.startswith(b"conectix")


def references(file: BinaryIO, image_format: str) -> References:
    """List what an image names. Raises SourceInvalid for what cannot be followed, SourceCorrupt for nonsense."""
    if image_format == "qcow2":
        return _qcow2_references(file)
    if image_format == "vmdk":
        return _vmdk_references(file)
    return References()


def _qcow2_references(file: BinaryIO) -> References:
    head = _at(file, 0, _MAX_HEADER_BYTES)
    if len(head) < 104:
        raise _nonsense("its header is cut off")
    _, version, offset, length, _, crypt = _QCOW2_HEADER.unpack_from(head)
    features, header_bytes = (0, 72) if version < 3 else (_u64(head, 72), _u32(head, 100))
    if crypt:
        raise SourceInvalid("The image is encrypted", code="image-encrypted", hint="Back up the decrypted disk.")
    if features & _QCOW2_EXTERNAL_DATA:
        raise SourceInvalid(
            "The image keeps its data in another file", code="image-external-data", hint="Convert it with qemu-img."
        )
    if not offset:
        return References()
    if not 0 < length <= _MAX_NAME_BYTES or offset + length > len(head):
        raise _nonsense("its backing file's name lies outside the header")
    name = head[offset : offset + length].decode(errors="surrogateescape")
    return References(backing=name, backing_format=_backing_format(head, header_bytes, offset))


def _backing_format(head: bytes, position: int, end: int) -> str | None:
    """Walk the header extensions, which end where the backing file's name begins."""
    while position + _QCOW2_EXTENSION.size <= end:
        kind, length = _QCOW2_EXTENSION.unpack_from(head, position)
        position += _QCOW2_EXTENSION.size
        if not kind:
            return None
        if kind == _QCOW2_BACKING_FORMAT:
            return head[position : position + length].decode(errors="replace")
        position += -(-length // 8) * 8
    return None


def _vmdk_references(file: BinaryIO) -> References:
    head = _at(file, 0, _MAX_HEADER_BYTES)
    sparse = head.startswith(b"KDMV") and len(head) >= _VMDK_SPARSE.size
    if head.startswith(b"COWD"):
        return References()
    if sparse:
        *_, offset, sectors = _VMDK_SPARSE.unpack_from(head)
        if sectors * _SECTOR > _MAX_DESCRIPTOR_BYTES:
            raise _nonsense("its descriptor is too long")
        text = _at(file, offset * _SECTOR, sectors * _SECTOR) if offset else b""
    else:
        text = _at(file, 0, _MAX_DESCRIPTOR_BYTES)
    words = text.partition(b"\0")[0].decode(errors="surrogateescape")
    parent = _VMDK_PARENT.search(words)
    # A sparse file with its own descriptor lists itself only.
    parts = () if sparse else tuple(dict.fromkeys(_VMDK_EXTENT.findall(words)))
    return References(parent.group(1) if parent else None, "vmdk" if parent else None, parts)


def _nonsense(why: str) -> SourceCorrupt:
    return SourceCorrupt("The image contradicts itself", code="image-header", why=why)


def _at(file: BinaryIO, offset: int, length: int) -> bytes:
    if offset >= 1 << 62:
        raise _nonsense("it points far behind its end")
    file.seek(offset)
    return file.read(length)


def _u32(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "big")


def _u64(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 8], "big")

"""Writes stream-optimised VMDKs the way servers send them: tables behind their grains, directory, footer, end.

qemu-img reads what this writes (a test compares), which makes it more than our own idea of the format.
"""

from __future__ import annotations

import struct
import zlib

SECTOR = 512
GRAIN = 128
ENTRIES = 512
OVERHEAD = 128
AT_END = 0xFFFFFFFFFFFFFFFF
DESCRIPTOR = """# Disk DescriptorFile
version=1
CID=12345678
parentCID=ffffffff
createType="streamOptimized"

# Extent description
RW {capacity} SPARSE "disk.vmdk"

# The Disk Data Base
#DDB
ddb.adapterType = "lsilogic"
ddb.geometry.cylinders = "1"
ddb.geometry.heads = "255"
ddb.geometry.sectors = "63"
ddb.virtualHWVersion = "13"
"""


def stream_vmdk(content: bytes) -> bytes:
    """Return the stream of a disk; grains of zeros are left out, as are tables without grains."""
    capacity = len(content) // SECTOR
    out = bytearray(_header(capacity, AT_END))
    out += DESCRIPTOR.format(capacity=capacity).encode().ljust((OVERHEAD - 1) * SECTOR, b"\0")
    directory = []
    for start in range(0, capacity, GRAIN * ENTRIES):
        table = [_grain(out, content, at) for at in range(start, min(start + GRAIN * ENTRIES, capacity), GRAIN)]
        directory.append(_metadata(out, 1, table + [0] * (ENTRIES - len(table))) if any(table) else 0)
    directory_at = _metadata(out, 2, directory)
    out += _marker(1, 3) + _header(capacity, directory_at) + bytes(SECTOR)
    return bytes(out)


def _header(capacity: int, directory_at: int) -> bytes:
    packed = struct.pack(
        "<4sIIQQQQIQQQB4sH",
        *(b"KDMV", 3, 0x30001, capacity, GRAIN, 1, 20, ENTRIES, 0, directory_at, OVERHEAD, 0, b"\n \r\n", 1),
    )
    return packed.ljust(SECTOR, b"\0")


def _marker(sectors: int, kind: int) -> bytes:
    return struct.pack("<QII", sectors, 0, kind).ljust(SECTOR, b"\0")


def _grain(out: bytearray, content: bytes, at: int) -> int:
    data = content[at * SECTOR : (at + GRAIN) * SECTOR]
    if not any(data):
        return 0
    place, packed = len(out) // SECTOR, zlib.compress(data.ljust(GRAIN * SECTOR, b"\0"))
    out += struct.pack("<QI", at, len(packed)) + packed
    out += bytes(-len(out) % SECTOR)
    return place


def _metadata(out: bytearray, kind: int, entries: list[int]) -> int:
    packed = struct.pack(f"<{len(entries)}I", *entries)
    packed += bytes(-len(packed) % SECTOR)
    out += _marker(len(packed) // SECTOR, kind)
    place = len(out) // SECTOR
    out += packed
    return place

"""Whether a spooled qcow2 is all there. Imports `adapters.errors` only.

QEMU reads zeros where a file ends too early: what the tables name must lie within what arrived. A qcow2 may also name
other files of this machine as parts of itself: one that does is refused before QEMU sees it.
"""

from __future__ import annotations

import os
import struct

import numpy as np

from adapters.errors import SourceCorrupt

_HEAD = struct.Struct(">4sIQIIQIIQ")  # magic, version, backing, its length, cluster bits, size, encryption, L1 size, L1
_FEATURES_AT = 72
_PLAIN_FEATURES = 1  # dirty: its reference counts may be wrong, which no reader needs
_COMPRESSED, _OFFSET, _ZERO = np.uint64(1 << 62), np.uint64(0x00FFFFFFFFFFFE00), np.uint64(1)


def require_whole(descriptor: int, size_bytes: int, name: str) -> None:
    """Raise SourceCorrupt unless the file is a whole qcow2 of a disk of that size, and needs no other file or key."""
    head = os.pread(descriptor, 104, 0).ljust(104, b"\0")
    magic, version, backing, _, bits, size, encryption, entries, table = _HEAD.unpack_from(head)
    if magic != b"QFI\xfb" or version not in (2, 3) or size != size_bytes or not 9 <= bits <= 21:
        raise _malformed(name, f"it is no qcow2 of {size_bytes} bytes")
    features = int.from_bytes(head[_FEATURES_AT : _FEATURES_AT + 8], "big") if version == 3 else 0
    if backing or encryption or features & ~_PLAIN_FEATURES:
        raise _malformed(name, "it is not whole without another file or a key, or is of an unknown kind")
    cluster = 1 << bits
    per_table = cluster // 8
    if entries < -(-size_bytes // (cluster * per_table)) or entries > 1 << 22:
        raise _malformed(name, "its first table does not fit its disk")
    first = _table(descriptor, table, entries, name) & _OFFSET
    for number in np.flatnonzero(first).tolist():
        second = _table(descriptor, int(first[number]), per_table, name)
        _require_clusters(descriptor, second, number * per_table, cluster, size_bytes, name)


def _require_clusters(
    descriptor: int, table: np.ndarray[tuple[int], np.dtype[np.uint64]], first: int, cluster: int, size: int, name: str
) -> None:
    """Every cluster with data must be in the file, as far as it is in the disk."""
    if (table & _COMPRESSED).any():
        raise _malformed(name, "it is compressed")
    numbers = np.flatnonzero((table & _OFFSET != 0) & (table & _ZERO == 0))
    starts = (numbers + first).astype(np.int64) * cluster
    ends = (table[numbers] & _OFFSET).astype(np.int64) + np.clip(size - starts, 0, cluster)
    if len(ends) and int(ends.max()) > os.fstat(descriptor).st_size:
        raise _malformed(name, "it was cut")


def _table(descriptor: int, offset: int, entries: int, name: str) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    raw = os.pread(descriptor, 8 * entries, offset)
    if len(raw) != 8 * entries:
        raise _malformed(name, "it was cut")
    return np.frombuffer(raw, ">u8").astype(np.uint64)


def _malformed(name: str, why: str) -> SourceCorrupt:
    return SourceCorrupt(f"The exported stream of {name} is not whole", code="export-malformed", why=why)

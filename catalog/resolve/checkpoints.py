"""A cache of resolved maps: dense files that spare the resolver the walk along a long chain.

Imports `storage` only. Files are published whole by a rename and carry a checksum over every byte, checked once a
process before first use; a file that is absent, torn, damaged or of another chain counts as absent.

File: 64-byte header (magic, what follows, the chain it resolves), the columns one after the other, the pack ids,
BLAKE3-256 of all that. Digests have a file of their own, for most questions do not need them.
"""

from __future__ import annotations

import mmap
import os
import secrets
import struct
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from catalog.resolve.blockmap import BlockMap, PackTable
from storage.chunks.rows import DIGEST_BYTES, PACK_ID_BYTES

MAGIC = b"HFCKPT\x00\x01"
HEADER = struct.Struct("<8sQQQ32s")
CHECKSUM_BYTES = 32


@dataclass(frozen=True, slots=True)
class Key:
    """One point of one disk, one segment; `chain` (32 bytes) fingerprints all points it was resolved from."""

    disk_id: UUID
    seq: int
    segment: int
    chain: bytes

    def name(self, kind: str) -> str:
        """The file's name below the cache's folder."""
        return f"{self.disk_id}/{self.seq}-{self.segment}.{kind}"


class Checkpoints:
    """Published maps below `root`, at most about `budget_bytes` of them, the oldest given up first."""

    def __init__(self, root: Path, packs: PackTable, *, budget_bytes: int) -> None:
        self._root = root
        self._packs = packs
        self._budget_bytes = budget_bytes
        self._verified: dict[tuple[str, int, int, int], NDArray[np.uint32]] = {}

    def load(self, key: Key, into: BlockMap) -> bool:
        """Copy the part that `into` (blank) covers; False, and nothing copied, when there is nothing to trust."""
        wanted = ("map", "digests") if into.digests is not None else ("map",)
        bodies = [self._body(key, kind) for kind in wanted]
        if None in bodies:
            return False
        _fill(into, *(body for body in bodies if body is not None))
        return True

    def publish(self, key: Key, full: BlockMap) -> None:
        """Keep a whole segment's map. A full or read-only cache is not an error: the map is only not kept."""
        used = np.zeros(len(full.packs.ids), bool)
        used[full.pack_index[full.stored != 0]] = True
        packs = np.flatnonzero(used).tolist()
        index = (np.maximum(np.cumsum(used, dtype=np.uint32), 1) - np.uint32(1))[full.pack_index]
        ids = b"".join(full.packs.ids[number] for number in packs)
        try:
            self._write(key, "map", full, [index.tobytes(), full.offsets.tobytes(), full.stored.tobytes(), ids])
            if full.digests is not None:
                self._write(key, "digests", full, [full.digests.tobytes()])
            self._evict()
        except OSError:
            return

    def _write(self, key: Key, kind: str, full: BlockMap, columns: list[bytes]) -> None:
        path = self._root / key.name(kind)
        path.parent.mkdir(parents=True, exist_ok=True)
        packs = len(columns[3]) // PACK_ID_BYTES if kind == "map" else 0
        header = HEADER.pack(MAGIC, full.first_block, full.count, packs, key.chain)
        checksum = blake3(header)
        for column in columns:
            checksum.update(column)
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        try:
            with open(temporary, "xb") as out:
                for part in (header, *columns, checksum.digest()):
                    out.write(part)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)

    def _body(self, key: Key, kind: str) -> _Body | None:
        """Map one file and check it; None when it cannot be trusted."""
        name = key.name(kind)
        try:
            with open(self._root / name, "rb") as file:
                stat = os.fstat(file.fileno())
                data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        except (OSError, ValueError):
            return None
        if len(data) < HEADER.size + CHECKSUM_BYTES:
            return None
        magic, first_block, count, packs, chain = HEADER.unpack_from(data)
        width = 12 if kind == "map" else DIGEST_BYTES
        length = HEADER.size + count * width + packs * PACK_ID_BYTES + CHECKSUM_BYTES
        if magic != MAGIC or chain != key.chain or length != len(data):
            return None
        identity = (name, stat.st_ino, stat.st_mtime_ns, stat.st_size)
        if identity not in self._verified:
            if blake3(data[:-CHECKSUM_BYTES]).digest() != bytes(data[-CHECKSUM_BYTES:]):
                return None
            ids = data[HEADER.size + count * width : -CHECKSUM_BYTES]
            packs_here = tuple(bytes(ids[at : at + PACK_ID_BYTES]) for at in range(0, len(ids), PACK_ID_BYTES))
            self._verified[identity] = self._packs.numbers(packs_here)
        return _Body(first_block, count, self._verified[identity], data[HEADER.size : -CHECKSUM_BYTES])

    def _evict(self) -> None:
        files = [(path.stat(), path) for path in self._root.glob("*/*-*.*")]
        files.sort(key=lambda item: item[0].st_mtime_ns)
        excess = sum(stat.st_size for stat, _ in files) - self._budget_bytes
        for stat, path in files:
            if excess <= 0:
                break
            path.unlink(missing_ok=True)
            excess -= stat.st_size


@dataclass(frozen=True, slots=True)
class _Body:
    first_block: int
    count: int
    packs: NDArray[np.uint32]
    data: memoryview


def _fill(into: BlockMap, locations: _Body, digests: _Body | None = None) -> None:
    low = into.first_block - locations.first_block
    inside = max(0, min(into.count, locations.count - low))
    columns = np.frombuffer(locations.data, np.uint32, 3 * locations.count).reshape(3, locations.count)
    cut = slice(low, low + inside)
    if len(locations.packs):
        np.take(locations.packs, columns[0, cut], out=into.pack_index[:inside], mode="clip")
    into.offsets[:inside] = columns[1, cut]
    into.stored[:inside] = columns[2, cut]
    if digests is not None and into.digests is not None:
        table = np.frombuffer(digests.data, np.uint8).reshape(digests.count, DIGEST_BYTES)
        into.digests[:inside] = table[cut]

"""What tests of packs and chunks share: a fixed key, disks in memory, a store with small packs, reading back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import numpy as np

from storage.chunks.pending import Written
from storage.chunks.rows import ChunkRows, ZeroRuns, concat_rows
from storage.chunks.store import ChunkStore
from storage.keys import KeyRing
from storage.objects.port import ObjectStore
from storage.packs.format import PackHeader
from storage.packs.writer import FinishedPack, PackBuilder
from tests.support.memory_objects import MemoryObjects

MASTER = bytes(range(32))
REPOSITORY = UUID("8f14e45f-ceea-467f-a8d8-2f1f0d1c7a11")
CHUNK = 4096


def noise(length: int, seed: int = 0) -> bytes:
    """Incompressible bytes, the same for the same seed."""
    return np.random.default_rng(seed).bytes(length)


class BytesDisk:
    """A disk in memory. `reads` keeps (offset, length) of every read."""

    def __init__(self, content: bytes | bytearray) -> None:
        self._content = memoryview(content)
        self.size_bytes = len(content)
        self.reads: list[tuple[int, int]] = []

    def pread_into(self, offset: int, buffer: memoryview) -> None:
        self.reads.append((offset, len(buffer)))
        buffer[:] = self._content[offset : offset + len(buffer)]


def make_store(
    objects: ObjectStore,
    index_dir: Path,
    *,
    encrypts: bool = True,
    chunk_bytes: int = CHUNK,
    pack_bytes: int = 64 << 10,
    workers: int = 2,
) -> ChunkStore:
    """A store with small chunks and packs under the fixed key."""
    return ChunkStore(
        objects,
        KeyRing(MASTER, encrypts=encrypts),
        index_dir,
        repository_id=REPOSITORY,
        chunk_bytes=chunk_bytes,
        pack_bytes=pack_bytes,
        workers=workers,
        clock=lambda: datetime(2026, 1, 2, tzinfo=UTC),
    )


def blocks_of(length: int, chunk_bytes: int = CHUNK) -> int:
    """How many blocks a disk has."""
    return -(-length // chunk_bytes)


def back_up(store: ChunkStore, content: bytes | bytearray) -> list[Written]:
    """A full backup in a writer of its own."""
    with store.writer() as writer:
        return list(writer.write(BytesDisk(content), [(0, blocks_of(len(content), store.chunk_bytes))]))


def rows_in(written: Sequence[Written]) -> ChunkRows:
    """All rows."""
    return concat_rows([each.rows for each in written])


def apply(image: bytearray, store: ChunkStore, rows: ChunkRows, zeros: Sequence[ZeroRuns]) -> None:
    """Write what rows and zero runs say into an image."""
    size = store.chunk_bytes
    for runs in zeros:
        for start, count in zip(runs.starts.tolist(), runs.counts.tolist(), strict=True):
            end = min((start + count) * size, len(image))
            image[start * size : end] = bytes(end - start * size)

    def sink(block: int, plain: memoryview) -> None:
        image[block * size : block * size + len(plain)] = plain

    store.scatter(rows, sink)


def restored(store: ChunkStore, written: Sequence[Written], length: int) -> bytes:
    """The image that a full backup describes, over a background that is not zero."""
    image = bytearray(b"\xee" * length)
    apply(image, store, rows_in(written), [each.zeros for each in written])
    return bytes(image)


def build_pack(
    chunks: Sequence[tuple[bytes, int, int, bytes]], *, encrypts: bool = True, pack_id: bytes = b"\x3f" * 16
) -> FinishedPack:
    """Pack (digest, plain length, method, payload) under the fixed key and a given id."""
    header = PackHeader(REPOSITORY.bytes, pack_id, encrypts, 1_700_000_000_000_000)
    builder = PackBuilder(header, KeyRing(MASTER, encrypts=encrypts), memoryview(bytearray(1 << 20)))
    for chunk in chunks:
        builder.add(*chunk)
    return builder.finish()


def replace_object(objects: MemoryObjects, name: str, content: bytes) -> None:
    """Change an object behind everybody's back."""
    objects.delete(name)
    objects.put(name, memoryview(content))


def collect(into: list[Written], rows: Iterator[Written]) -> None:
    """Keep what comes, also when the iteration fails."""
    for written in rows:
        into.append(written)


def data(blocks: int, seed: int = 0) -> bytearray:
    """Blocks that are all different, compressible and not."""
    content = bytearray()
    for block in range(blocks):
        content += noise(CHUNK, 1000 * seed + block) if block % 2 else noise(16, 1000 * seed + block) * (CHUNK // 16)
    return content

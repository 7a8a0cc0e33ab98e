"""A pack of three small chunks in a store, for tests that damage it."""

from __future__ import annotations

from dataclasses import dataclass

import zstandard
from blake3 import blake3

from storage.keys import KeyRing
from storage.packs.format import RAW, ZSTD, pack_name
from storage.packs.reader import PackReader
from storage.packs.writer import FinishedPack
from tests.support.chunk_store import MASTER, REPOSITORY, build_pack, noise
from tests.support.memory_objects import MemoryObjects

PLAIN = (b"holdfast " * 12, noise(40, 1), b"a" * 64)


@dataclass(frozen=True)
class SmallPack:
    """A pack, its bytes, and what it holds: digest -> plain bytes."""

    objects: MemoryObjects
    reader: PackReader
    keys: KeyRing
    finished: FinishedPack
    name: str
    content: bytes
    plain: dict[bytes, bytes]


def chunk(plain: bytes, keys: KeyRing) -> tuple[bytes, int, int, bytes]:
    """What a writer would add for these plain bytes."""
    digest = blake3(plain, key=keys.digest_key()).digest()
    packed = zstandard.ZstdCompressor(level=1).compress(plain)
    return (digest, len(plain), ZSTD, packed) if len(packed) < len(plain) else (digest, len(plain), RAW, plain)


def make_small_pack(*, encrypts: bool) -> SmallPack:
    """Build the pack and store it."""
    keys = KeyRing(MASTER, encrypts=encrypts)
    chunks = [chunk(plain, keys) for plain in PLAIN]
    finished = build_pack(chunks, encrypts=encrypts)
    objects = MemoryObjects()
    name = pack_name(finished.sealed.pack_id)
    objects.put(name, *finished.buffers)
    return SmallPack(
        objects,
        PackReader(objects, keys, REPOSITORY.bytes),
        keys,
        finished,
        name,
        b"".join(finished.buffers),
        {made[0]: plain for made, plain in zip(chunks, PLAIN, strict=True)},
    )

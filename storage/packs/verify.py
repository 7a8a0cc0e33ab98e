"""Checks one pack against itself; imports `storage` only.

`stored` needs no key: header, trailer and the hash of every stored byte. `content`, in `storage.chunks.store`, also
opens footer and records.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from blake3 import blake3

from storage.errors import Corrupt, NotFound
from storage.objects.port import ObjectStore
from storage.packs.format import TRAILER_BYTES, pack_name, parse_trailer
from storage.packs.reader import PackReader

Level = Literal["stored", "content"]

_READ_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class PackReport:
    """What a verification found; no problems: a sound pack. `checked_bytes` are stored ones, or plain at `content`."""

    problems: tuple[str, ...]
    chunks: int
    checked_bytes: int


def verify_stored(objects: ObjectStore, packs: PackReader, pack_id: bytes) -> PackReport:
    """Compare every stored byte with the body hash. Raises Unavailable only: damage and absence are problems."""
    name = pack_name(pack_id)
    try:
        packs.header(pack_id)
        size, tail = objects.read_tail(name, TRAILER_BYTES)
        trailer = parse_trailer(tail, size, name)
        body_bytes = size - TRAILER_BYTES
        if _hash(objects, name, body_bytes) != trailer.body_hash:
            raise Corrupt(f"{name}: its stored bytes do not match their hash", code="pack-body")
    except (Corrupt, NotFound) as error:
        return PackReport((str(error),), 0, 0)
    return PackReport((), trailer.chunks, size)


def _hash(objects: ObjectStore, name: str, length: int) -> bytes:
    hasher = blake3(max_threads=1)
    buffer = np.empty(min(length, _READ_BYTES), np.uint8).data
    for offset in range(0, length, _READ_BYTES):
        part = buffer[: min(_READ_BYTES, length - offset)]
        objects.read_into(name, offset, part)
        hasher.update(part)
    return hasher.digest()

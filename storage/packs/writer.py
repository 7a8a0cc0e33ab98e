"""Builds one pack in a buffer; imports `storage` only.

Invariants: an ordinal, hence a nonce, is used once; what `seal` returns is complete; the pack exists only once
the caller has put it into an object store.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from blake3 import blake3

from storage.errors import Limit
from storage.keys import KeyRing
from storage.packs.format import (
    ENTRY,
    FOOTER_NONCE,
    HEAD_BYTES,
    HEADER_BYTES,
    MAX_CHUNKS,
    RECORD_OVERHEAD,
    TAG_BYTES,
    Entries,
    PackHeader,
    RecordHead,
    Trailer,
    digest_keys,
    footer_binding,
    record_nonce,
)
from storage.packs.seals import seal_for


@dataclass(frozen=True, slots=True)
class SealedPack:
    """A durable pack; `body_hash` is the BLAKE3 of all but its trailer."""

    pack_id: bytes
    size_bytes: int
    chunks: int
    body_hash: bytes


@dataclass(frozen=True, slots=True)
class FinishedPack:
    """A pack ready to be stored: its bytes in order, and its entries sorted by digest."""

    sealed: SealedPack
    buffers: tuple[memoryview, ...]
    entries: Entries


class PackBuilder:
    """Appends sealed records to `buffer`, which it owns until the pack is stored or dropped. One thread at a time."""

    def __init__(self, header: PackHeader, keys: KeyRing, buffer: memoryview) -> None:
        self.pack_id = header.pack_id
        self._seal = seal_for(header, keys)
        self._buffer = buffer
        self._buffer[:HEADER_BYTES] = header.encode()
        self._end = HEADER_BYTES
        self._entries: list[tuple[bytes, int, int, int]] = []

    def __len__(self) -> int:
        return len(self._entries)

    def has_room(self, payload_bytes: int) -> bool:
        """Tell whether one more record fits."""
        return self._end + RECORD_OVERHEAD + payload_bytes <= len(self._buffer) and len(self) < MAX_CHUNKS

    def add(self, digest: bytes, plain_bytes: int, method: int, payload: bytes | memoryview) -> tuple[int, int]:
        """Append one chunk; return offset and length of its record. Raises Limit `pack-full`."""
        if not self.has_room(len(payload)):
            raise Limit("the pack is full", code="pack-full")
        head = RecordHead(method, len(self), plain_bytes, len(payload), digest)
        offset, body = self._end, self._end + HEAD_BYTES
        self._end = offset + head.stored_bytes
        binding = head.encode()
        self._buffer[offset:body] = binding
        self._seal.seal_into(record_nonce(head.ordinal), binding, memoryview(payload), self._buffer[body : self._end])
        self._entries.append((digest, offset, head.stored_bytes, plain_bytes))
        return offset, head.stored_bytes

    def finish(self) -> FinishedPack:
        """Close the pack: footer, body hash, trailer. Nothing may be added afterwards."""
        entries = _sorted_entries(self._entries)
        plain = memoryview(entries.tobytes())
        footer = memoryview(bytearray(len(plain) + TAG_BYTES))
        self._seal.seal_into(FOOTER_NONCE, footer_binding(self._end, len(entries)), plain, footer)
        body = self._buffer[: self._end]
        body_hash = blake3(body, max_threads=1).update(footer).digest()
        trailer = Trailer(self._end, len(entries), body_hash).encode()
        size = len(body) + len(footer) + len(trailer)
        sealed = SealedPack(self.pack_id, size, len(entries), body_hash)
        return FinishedPack(sealed, (body, footer, memoryview(trailer)), entries)


def _sorted_entries(rows: list[tuple[bytes, int, int, int]]) -> Entries:
    entries = np.empty(len(rows), ENTRY)
    entries["digest"] = np.frombuffer(b"".join(row[0] for row in rows), np.uint8).reshape(-1, 32)
    for field, column in (("offset", 1), ("stored", 2), ("plain", 3)):
        entries[field] = [row[column] for row in rows]
    return entries[np.argsort(digest_keys(entries["digest"]))]

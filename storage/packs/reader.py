"""Reads packs of one repository: header, footer, records; imports `storage` only.

Invariants: a pack of another repository, key or name is refused; entries come from a footer that verified.
Headers are kept, as every record needs its pack's key; the cache is bounded.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np

from storage.errors import Corrupt
from storage.keys import KeyRing
from storage.objects.port import ObjectStore
from storage.packs.decode import Decoder
from storage.packs.format import (
    ENTRY,
    FOOTER_NONCE,
    HEAD_BYTES,
    HEADER_BYTES,
    MAX_PACK_BYTES,
    MAX_RECORD_BYTES,
    TRAILER_BYTES,
    Entries,
    PackHeader,
    RecordHead,
    Trailer,
    check_entries,
    digest_keys,
    footer_binding,
    pack_name,
    parse_head,
    parse_header,
    parse_trailer,
)
from storage.packs.seals import Seal, SealBroken, seal_for
from storage.packs.writer import SealedPack

_TAIL_BYTES = 64 << 10
_CACHED_SEALS = 4096


class PackReader:
    """Reads packs. Safe to use from several threads."""

    def __init__(self, objects: ObjectStore, keys: KeyRing, repository: bytes) -> None:
        self._objects = objects
        self._keys = keys
        self._repository = repository
        self.seal = lru_cache(_CACHED_SEALS)(self._seal)

    def header(self, pack_id: bytes) -> PackHeader:
        """Read and check the header. Raises NotFound, Corrupt `pack-header`, `pack-foreign`, `pack-encryption`."""
        name = pack_name(pack_id)
        data = memoryview(bytearray(HEADER_BYTES))
        self._objects.read_into(name, 0, data)
        header = parse_header(data, name)
        if (header.repository, header.pack_id) != (self._repository, pack_id):
            raise Corrupt(f"{name} belongs elsewhere", code="pack-foreign", why="its header names another owner")
        if header.encrypted != self._keys.encrypts:
            raise Corrupt(f"{name} is sealed in another way than this repository", code="pack-encryption")
        return header

    def read_record(self, pack_id: bytes, offset: int, stored: int) -> memoryview:
        """Read the bytes of one record, unchecked."""
        buffer = memoryview(bytearray(min(stored, MAX_RECORD_BYTES)))
        self._objects.read_into(pack_name(pack_id), offset, buffer)
        return buffer

    def entries(self, pack_id: bytes) -> tuple[SealedPack, Entries]:
        """Read header, trailer and footer. Raises NotFound; Corrupt `pack-…` when one of them does not verify."""
        name = pack_name(pack_id)
        seal = seal_for(self.header(pack_id), self._keys)
        size, tail = self._objects.read_tail(name, _TAIL_BYTES)
        trailer = parse_trailer(tail, size, name)
        footer = self._footer(name, size, trailer, tail)
        plain = memoryview(bytearray(trailer.chunks * ENTRY.itemsize))
        try:
            seal.open_into(FOOTER_NONCE, footer_binding(trailer.footer_offset, trailer.chunks), footer, plain)
        except SealBroken as error:
            raise Corrupt(f"{name}: its footer's seal is broken", code="pack-footer") from error
        entries = np.frombuffer(plain, ENTRY)
        check_entries(entries, trailer.footer_offset, name)
        return SealedPack(pack_id, size, trailer.chunks, trailer.body_hash), entries

    def scan(self, pack_id: bytes) -> Entries:
        """Read the records forwards, without footer and trailer, as far as one leads to the next.

        For a pack whose end is lost. Every returned record's seal holds. Raises NotFound, Corrupt `pack-header`.
        """
        seal = self.seal(pack_id)
        decoder = Decoder(self._keys.digest_key())
        found = [
            (head.digest, offset, head.stored_bytes, head.plain_bytes)
            for offset, head, record in self._records(pack_id)
            if decoder.authentic(seal, record, head)
        ]
        entries = np.array([(list(row[0]), *row[1:]) for row in found], ENTRY)
        return entries[np.argsort(digest_keys(entries["digest"]))]

    def _records(self, pack_id: bytes) -> Iterator[tuple[int, RecordHead, memoryview]]:
        name = pack_name(pack_id)
        size = min(self._objects.stat(name).size_bytes, MAX_PACK_BYTES)
        offset = HEADER_BYTES
        ordinal = 0
        while offset + HEAD_BYTES <= size:
            try:
                head = parse_head(self.read_record(pack_id, offset, HEAD_BYTES), name)
            except Corrupt:
                return
            if head.ordinal != ordinal or offset + head.stored_bytes > size:
                return
            yield offset, head, self.read_record(pack_id, offset, head.stored_bytes)
            offset += head.stored_bytes
            ordinal += 1

    def _footer(self, name: str, size: int, trailer: Trailer, tail: bytes) -> memoryview:
        begin = size - len(tail)
        if trailer.footer_offset >= begin:
            return memoryview(tail)[trailer.footer_offset - begin : -TRAILER_BYTES]
        footer = memoryview(bytearray(trailer.footer_bytes))
        self._objects.read_into(name, trailer.footer_offset, footer)
        return footer

    def _seal(self, pack_id: bytes) -> Seal:
        return seal_for(self.header(pack_id), self._keys)

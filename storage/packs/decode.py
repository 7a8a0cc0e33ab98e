"""One record back to plain bytes, with every check; imports `storage` only.

A Decoder belongs to one thread: its buffers and zstd context are reused. It returns verified bytes or raises Corrupt.
"""

from __future__ import annotations

import mmap

import numpy as np
import zstandard
from blake3 import blake3

from storage.errors import Corrupt
from storage.packs.format import (
    HEAD_BYTES,
    MAX_CHUNK_BYTES,
    RAW,
    TAG_BYTES,
    RecordHead,
    parse_head,
    record_nonce,
)
from storage.packs.seals import Seal, SealBroken


class Decoder:
    """Opens records: seal, decompression, digest. `digest_key` and the chunks' largest size are the repository's."""

    def __init__(self, digest_key: bytes, chunk_bytes: int = MAX_CHUNK_BYTES) -> None:
        self._digest_key = digest_key
        self._payload = np.empty(chunk_bytes, np.uint8).data
        # Page-aligned, so that a sink can hand it to a disk as it is.
        self._plain = memoryview(mmap.mmap(-1, chunk_bytes))
        self._zstd = zstandard.ZstdDecompressor()

    def decode(self, seal: Seal, record: memoryview, digest: bytes, name: str) -> memoryview:
        """Return the plain bytes of `record`, valid until the next call. Raises Corrupt `record-…`.

        `digest` is what the caller believes to be there; `name` says in errors which pack it is.
        """
        head = parse_head(record, name)
        if head.digest != digest or len(record) != head.stored_bytes or head.plain_bytes > len(self._plain):
            raise Corrupt(f"{name}: a record is not the one expected", code="record-other")
        plain = self._open(seal, record, head, name)
        if blake3(plain, key=self._digest_key, max_threads=1).digest() != digest:
            raise Corrupt(f"{name}: a chunk's content does not match its digest", code="record-digest")
        return plain

    def authentic(self, seal: Seal, record: memoryview, head: RecordHead) -> bool:
        """Tell whether the seal of a record holds."""
        try:
            self._unseal(seal, record, head, self._payload[: head.payload_bytes])
        except SealBroken:
            return False
        return True

    def _open(self, seal: Seal, record: memoryview, head: RecordHead, name: str) -> memoryview:
        plain = self._plain[: head.plain_bytes]
        payload = plain if head.method == RAW else self._payload[: head.payload_bytes]
        try:
            self._unseal(seal, record, head, payload)
        except SealBroken as error:
            raise Corrupt(f"{name}: a record's seal is broken", code="record-seal") from error
        if head.method != RAW:
            self._decompress(payload, plain, name)
        return plain

    def _unseal(self, seal: Seal, record: memoryview, head: RecordHead, out: memoryview) -> None:
        end = HEAD_BYTES + head.payload_bytes + TAG_BYTES
        seal.open_into(record_nonce(head.ordinal), bytes(record[:HEAD_BYTES]), record[HEAD_BYTES:end], out)

    def _decompress(self, payload: memoryview, plain: memoryview, name: str) -> None:
        try:
            fits = zstandard.frame_content_size(payload) == len(plain)
            got = self._zstd.stream_reader(payload).readinto(plain) if fits else 0
        except zstandard.ZstdError:
            got = 0
        if got != len(plain):
            raise Corrupt(f"{name}: a chunk does not decompress", code="record-zstd")

"""The parts of a pack as bytes: header, record head, footer entries, trailer; imports `storage.errors` only.

Source: FORMAT.md. Parsing checks everything that can be checked without a key and raises Corrupt.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from storage.errors import Corrupt

VERSION = 1
KEY_EPOCH = 1
ENCRYPTED = 1
RAW, ZSTD = 0, 1

PACK_ID_BYTES = 16
DIGEST_BYTES = 32
TAG_BYTES = 16
MAX_CHUNK_BYTES = 4 << 20
MAX_CHUNKS = 65_536
MAX_PACK_BYTES = (1 << 32) - 1

_HEADER = struct.Struct("<8sHH16s16sIQ")
_BINDING = struct.Struct("<HH16s16s")
_HEAD = struct.Struct("<3sBIII32s")
_TRAILER = struct.Struct("<QII32s")
_FOOTER_BINDING = struct.Struct("<6sQI")
_NONCE = struct.Struct("<IQ")

_HEADER_MAGIC = b"HFPACK\r\n"
_RECORD_MAGIC = b"HFr"
_TRAILER_MAGIC = b"HFPEND\r\n"
_CHECK_BYTES = 8

HEADER_BYTES = 64
HEAD_BYTES = _HEAD.size
TRAILER_BYTES = 64
RECORD_OVERHEAD = HEAD_BYTES + TAG_BYTES
MAX_RECORD_BYTES = RECORD_OVERHEAD + MAX_CHUNK_BYTES

ENTRY = np.dtype([("digest", "u1", (DIGEST_BYTES,)), ("offset", "<u4"), ("stored", "<u4"), ("plain", "<u4")])
Entries = NDArray[np.void]
"""Footer entries: a structured array of ENTRY, n long."""


@dataclass(frozen=True, slots=True)
class PackHeader:
    """Who a pack is; `created_us` counts microseconds since 1970 UTC."""

    repository: bytes
    pack_id: bytes
    encrypted: bool
    created_us: int
    epoch: int = KEY_EPOCH

    def encode(self) -> bytes:
        """Return the 64 bytes of the header."""
        body = _HEADER.pack(
            _HEADER_MAGIC,
            VERSION,
            ENCRYPTED * self.encrypted,
            self.repository,
            self.pack_id,
            self.epoch,
            self.created_us,
        )
        return body + _check(body)

    @property
    def binding(self) -> bytes:
        """What every seal of the pack is bound to, 36 bytes."""
        return _BINDING.pack(VERSION, ENCRYPTED * self.encrypted, self.repository, self.pack_id)


@dataclass(frozen=True, slots=True)
class RecordHead:
    """The first 48 bytes of a record."""

    method: int
    ordinal: int
    plain_bytes: int
    payload_bytes: int
    digest: bytes

    def encode(self) -> bytes:
        """Return the 48 bytes."""
        return _HEAD.pack(_RECORD_MAGIC, self.method, self.ordinal, self.plain_bytes, self.payload_bytes, self.digest)

    @property
    def stored_bytes(self) -> int:
        """The whole record's length."""
        return RECORD_OVERHEAD + self.payload_bytes


@dataclass(frozen=True, slots=True)
class Trailer:
    """The last 64 bytes of a pack."""

    footer_offset: int
    chunks: int
    body_hash: bytes

    @property
    def footer_bytes(self) -> int:
        """The footer's length."""
        return self.chunks * ENTRY.itemsize + TAG_BYTES

    def encode(self) -> bytes:
        """Return the 64 bytes of the trailer."""
        body = _TRAILER.pack(self.footer_offset, self.footer_bytes, self.chunks, self.body_hash)
        return body + _check(body) + _TRAILER_MAGIC


def parse_header(data: bytes | memoryview, name: str) -> PackHeader:
    """Read a header. Raises Corrupt `pack-header`, naming the pack."""
    body, check = bytes(data[: _HEADER.size]), bytes(data[_HEADER.size : HEADER_BYTES])
    if len(check) != _CHECK_BYTES or check != _check(body):
        raise Corrupt(f"{name}: its header does not verify", code="pack-header")
    magic, version, flags, repository, pack_id, epoch, created_us = _HEADER.unpack(body)
    if magic != _HEADER_MAGIC or version != VERSION or flags & ~ENCRYPTED:
        raise Corrupt(f"{name} is not a pack of version {VERSION}", code="pack-header")
    return PackHeader(repository, pack_id, bool(flags & ENCRYPTED), created_us, epoch)


def parse_head(data: memoryview, name: str) -> RecordHead:
    """Read a record's first 48 bytes. Raises Corrupt `record-head`."""
    if len(data) < HEAD_BYTES:
        raise Corrupt(f"{name}: a record ends early", code="record-head")
    magic, method, ordinal, plain, payload, digest = _HEAD.unpack_from(data)
    lengths_fit = payload == plain if method == RAW else 0 < payload < plain
    if magic != _RECORD_MAGIC or method not in (RAW, ZSTD) or not lengths_fit or not 0 < plain <= MAX_CHUNK_BYTES:
        raise Corrupt(f"{name}: a record's head is damaged", code="record-head")
    return RecordHead(method, ordinal, plain, payload, digest)


def parse_trailer(data: bytes, size_bytes: int, name: str) -> Trailer:
    """Read a trailer from the end of `data`; `size_bytes` is the pack's length. Raises Corrupt `pack-trailer`."""
    end = data[-TRAILER_BYTES:]
    body, check, magic = end[: _TRAILER.size], end[_TRAILER.size : _TRAILER.size + _CHECK_BYTES], end[-8:]
    if len(end) < TRAILER_BYTES or magic != _TRAILER_MAGIC or check != _check(body):
        raise Corrupt(f"{name}: its trailer does not verify", code="pack-trailer", why="truncated or damaged")
    offset, length, chunks, body_hash = _TRAILER.unpack(body)
    trailer = Trailer(offset, chunks, body_hash)
    fits = offset + length + TRAILER_BYTES == size_bytes and length == trailer.footer_bytes
    if not fits or not 0 < chunks <= MAX_CHUNKS or size_bytes > MAX_PACK_BYTES:
        raise Corrupt(f"{name}: its trailer does not fit its length", code="pack-trailer")
    return trailer


def check_entries(entries: Entries, footer_offset: int, name: str) -> None:
    """Raise Corrupt `pack-footer` unless the entries ascend and cover the records exactly once."""
    by_offset = entries[np.argsort(entries["offset"])]
    starts = by_offset["offset"].astype(np.int64)
    ends = starts + by_offset["stored"]
    gapless = starts[0] == HEADER_BYTES and ends[-1] == footer_offset and bool((starts[1:] == ends[:-1]).all())
    digests = digest_keys(entries["digest"])
    if not gapless or not bool((digests[1:] > digests[:-1]).all()):
        raise Corrupt(f"{name}: its footer contradicts its records", code="pack-footer")


def digest_keys(digests: NDArray[np.uint8]) -> NDArray[np.bytes_]:
    """View u8[n, 32] as n strings that compare as the digests do."""
    return np.ascontiguousarray(digests).view(f"S{DIGEST_BYTES}").reshape(-1)


def record_nonce(ordinal: int) -> bytes:
    """The nonce of a record: unique under the pack's key."""
    return _NONCE.pack(1, ordinal)


FOOTER_NONCE = _NONCE.pack(2, 0)


def footer_binding(footer_offset: int, chunks: int) -> bytes:
    """What the footer's seal is bound to, besides the pack."""
    return _FOOTER_BINDING.pack(b"footer", footer_offset, chunks)


def pack_name(pack_id: bytes) -> str:
    """The name of a pack's object."""
    text = pack_id.hex()
    return f"packs/{text[:2]}/{text}"


def _check(body: bytes) -> bytes:
    return blake3(body).digest(_CHECK_BYTES)

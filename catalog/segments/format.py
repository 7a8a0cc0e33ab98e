"""One segment as bytes; see FORMAT.md. Imports `catalog.log.chain` and `storage`.

Parsing proves everything: the cipher's tag (or the keyed digest of an unencrypted one), the number and order of the
rows, and that their leaves lead from the head before them to the head behind them.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hmac import compare_digest
from typing import Any
from uuid import UUID

import msgspec
import zstandard
from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from catalog.log.chain import StoredRow, leaf_of, next_head
from storage.errors import Corrupt, Denied, HoldfastError
from storage.keys import KeyRing

MAGIC = b"HFSEGMT\n"
VERSION = 1
ENCRYPTED = 1
MAX_SEGMENT_BYTES = 1 << 30
LEVEL = 3
HEADER = struct.Struct(">8sHH16s16s8sQQQ32s32s")
TAG_BYTES = 16
DIGEST_BYTES = 32
NONCE = bytes(12)
"""Each segment has a key of its own, used once."""

Rows = Sequence[StoredRow]


@dataclass(frozen=True, slots=True)
class Segment:
    """What a header says: the rows `first` to `last` of a repository's log, and the chain's heads around them."""

    repository_id: UUID
    first: int
    last: int
    head_before: bytes
    head: bytes


def seal(
    keys: KeyRing, segment: Segment, rows: Rows, *, random: Callable[[int], bytes] = os.urandom
) -> tuple[bytes, bytes]:
    """The header and the sealed body of a segment."""
    encoded = msgspec.msgpack.encode(
        [(row.originator_id.bytes, row.originator_version, row.topic, row.state) for row in rows]
    )
    salt = random(16)
    header = HEADER.pack(
        MAGIC,
        VERSION,
        ENCRYPTED if keys.encrypts else 0,
        segment.repository_id.bytes,
        salt,
        bytes.fromhex(keys.key_id),
        segment.first,
        segment.last,
        len(encoded),
        segment.head_before,
        segment.head,
    )
    packed = zstandard.ZstdCompressor(level=LEVEL).compress(encoded)
    if keys.encrypts:
        return header, AESGCM(keys.segment_key(salt)).encrypt(NONCE, packed, header)
    return header, packed + blake3(header + packed, key=keys.segment_key(salt)).digest()


def read_header(data: bytes, name: str) -> Segment:
    """What the header of a segment says, which only `open_segment` proves. Raises Corrupt."""
    if len(data) < HEADER.size:
        raise _bad(name, "it is cut short")
    magic, version, _, repository, _, _, first, last, size, before, head = HEADER.unpack_from(data)
    if (magic, version) != (MAGIC, VERSION):
        raise _bad(name, f"its magic and version are {magic!r}, {version}")
    if not 0 < first <= last or size > MAX_SEGMENT_BYTES:
        raise _bad(name, f"it claims events {first} to {last} in {size} bytes")
    return Segment(UUID(bytes=repository), first, last, before, head)


def open_segment(keys: KeyRing, data: bytes, name: str) -> tuple[Segment, list[StoredRow]]:
    """The rows of a segment, proven. Raises Corrupt; Denied when another key sealed it."""
    segment = read_header(data, name)
    header, body = data[: HEADER.size], data[HEADER.size :]
    _, _, flags, _, salt, key_id, _, _, size, _, _ = HEADER.unpack(header)
    if key_id.hex() != keys.key_id:
        raise Denied(f"{name} was sealed with key {key_id.hex()}", code="key-mismatch", why=f"this is {keys.key_id}")
    if bool(flags & ENCRYPTED) != keys.encrypts:
        # Without this, whoever can write to the store could put history there that no key has sealed.
        raise _bad(name, "it is sealed in another way than this repository")
    packed = (
        _decrypted(keys, header, body, salt, name) if flags & ENCRYPTED else _checked(keys, header, body, salt, name)
    )
    try:
        encoded = zstandard.ZstdDecompressor().decompress(packed, max_output_size=size)
        rows: list[Any] = msgspec.msgpack.decode(encoded, type=list[tuple[bytes, int, str, bytes]])
        found = [StoredRow(segment.first + index, UUID(bytes=row[0]), *row[1:]) for index, row in enumerate(rows)]
    except (zstandard.ZstdError, msgspec.MsgspecError, ValueError) as error:
        raise _bad(name, str(error)) from error
    _prove(segment, found, name)
    return segment, found


def _decrypted(keys: KeyRing, header: bytes, body: bytes, salt: bytes, name: str) -> bytes:
    try:
        return AESGCM(keys.segment_key(salt)).decrypt(NONCE, body, header)
    except (InvalidTag, ValueError) as error:
        raise _bad(name, "it does not decrypt") from error


def _checked(keys: KeyRing, header: bytes, body: bytes, salt: bytes, name: str) -> bytes:
    packed, digest = body[:-DIGEST_BYTES], body[-DIGEST_BYTES:]
    if not compare_digest(blake3(header + packed, key=keys.segment_key(salt)).digest(), digest):
        raise _bad(name, "its keyed digest differs")
    return packed


def _prove(segment: Segment, rows: Rows, name: str) -> None:
    head = segment.head_before
    for row in rows:
        head = next_head(head, leaf_of(row.originator_id, row.originator_version, row.topic, row.state))
    if len(rows) != segment.last - segment.first + 1 or head != segment.head:
        raise _bad(name, "its rows do not lead to its head")


def _bad(name: str, why: str) -> HoldfastError:
    return Corrupt(
        f"segment {name} of the event log is damaged",
        code="segment-damaged",
        why=why,
        hint="another copy of the store may have it whole",
    )

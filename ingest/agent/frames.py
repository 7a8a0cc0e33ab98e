"""One frame: the bytes that were asked for, compressed, with a digest that fits them, their run and their number only.

Imports `ingest.agent.protocol` and `storage.errors`. Layout, little-endian: magic 4 B, method u8, 3 zero bytes, plain
length u32, BLAKE3 (keyed with the machine's key) over run, number and plain bytes 32 B, then the payload.
"""

from __future__ import annotations

import hmac
import struct
from uuid import UUID

import zstandard
from blake3 import blake3

from ingest.agent.protocol import FRAME_BYTES
from storage.errors import Invalid

MAGIC = b"HFA1"
RAW, ZSTD = 0, 1
LEVEL = 1
_HEAD = struct.Struct("<4sB3xI32s")
HEAD_BYTES = _HEAD.size
MAX_BODY_BYTES = HEAD_BYTES + FRAME_BYTES
"""What does not become smaller travels as it is, so that no frame is larger."""
_MAX_WINDOW_BYTES = 8 << 20
DAMAGED = "frame-damaged"


def encode_frame(key: bytes, run_id: UUID, number: int, plain: memoryview) -> bytes:
    """Return the frame of up to FRAME_BYTES bytes."""
    payload: bytes | memoryview = zstandard.ZstdCompressor(level=LEVEL).compress(plain)
    method = ZSTD
    if len(payload) >= len(plain):
        payload, method = plain, RAW
    return b"".join((_HEAD.pack(MAGIC, method, len(plain), _digest(key, run_id, number, plain)), payload))


def decode_frame(key: bytes, run_id: UUID, number: int, body: bytes, length: int) -> bytes:
    """Return the `length` plain bytes of a frame. Raises Invalid `frame-damaged`."""
    if len(body) < HEAD_BYTES:
        raise _damaged("it is cut off")
    magic, method, plain_bytes, digest = _HEAD.unpack_from(body)
    if magic != MAGIC or method not in (RAW, ZSTD) or plain_bytes != length:
        raise _damaged("its head is not one that was asked for")
    payload = memoryview(body)[HEAD_BYTES:]
    plain = bytes(payload) if method == RAW else _decompressed(payload, length)
    if len(plain) != length or not hmac.compare_digest(_digest(key, run_id, number, memoryview(plain)), digest):
        raise _damaged("its digest does not fit")
    return plain


def _decompressed(payload: memoryview, length: int) -> bytes:
    """The stated size is checked before anything is allocated for it."""
    try:
        if zstandard.frame_content_size(payload) != length:
            raise _damaged("its stated size differs")
        decompressor = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW_BYTES)
        plain: bytes = decompressor.decompress(payload, max_output_size=length)
    except zstandard.ZstdError:
        raise _damaged("it does not decompress") from None
    return plain


def _digest(key: bytes, run_id: UUID, number: int, plain: memoryview) -> bytes:
    return blake3(run_id.bytes + number.to_bytes(8, "little"), key=key).update(plain).digest()


def _damaged(why: str) -> Invalid:
    return Invalid("the frame did not arrive as it was sent", code=DAMAGED, why=why)

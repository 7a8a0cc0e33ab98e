"""How the state of an event lies in its row: one byte that names the form, then the bytes.

Imports `storage.errors` of ours. Fills the library's compressor slot. The size claimed by a compressed
state is bounded before memory is taken for it.
"""

from __future__ import annotations

import threading

import zstandard
from eventsourcing.persistence import Compressor

from storage.errors import Corrupt, Limit

PLAIN = b"\x00"
ZSTD = b"\x01"

COMPRESS_FROM_BYTES = 1024
LEVEL = 1
MAX_STATE_BYTES = 16 * 1024 * 1024


class Framing(Compressor):
    """zstd over the whole message from 1 KiB on, when it gains; safe to use from several threads."""

    def __init__(self) -> None:
        self._local = threading.local()

    def compress(self, data: bytes) -> bytes:
        """Frame an encoded event; Limit when it is larger than any reader accepts."""
        if len(data) > MAX_STATE_BYTES:
            raise Limit(
                f"an event of {len(data)} bytes is too large",
                code="event-size",
                why=f"at most {MAX_STATE_BYTES} bytes are accepted",
            )
        if len(data) >= COMPRESS_FROM_BYTES:
            packed = self._compressor().compress(data)
            if len(packed) < len(data):
                return ZSTD + packed
        return PLAIN + data

    def decompress(self, data: bytes) -> bytes:
        """Undo `compress`; Corrupt when the frame is not one of ours."""
        if data[:1] == PLAIN and len(data) <= MAX_STATE_BYTES + 1:
            return data[1:]
        size = plain_bytes(data)
        try:
            plain = self._decompressor().decompress(memoryview(data)[1:], max_output_size=size)
        except zstandard.ZstdError as error:
            raise _unreadable(str(error)) from error
        if len(plain) != size:
            raise _unreadable(f"{len(plain)} bytes instead of {size}")
        return plain

    def _compressor(self) -> zstandard.ZstdCompressor:
        found: zstandard.ZstdCompressor | None = getattr(self._local, "compressor", None)
        if found is None:
            found = self._local.compressor = zstandard.ZstdCompressor(level=LEVEL, write_content_size=True)
        return found

    def _decompressor(self) -> zstandard.ZstdDecompressor:
        found: zstandard.ZstdDecompressor | None = getattr(self._local, "decompressor", None)
        if found is None:
            found = self._local.decompressor = zstandard.ZstdDecompressor()
        return found


def plain_bytes(state: bytes) -> int:
    """The size that `decompress` will return, read from the frame's header."""
    if state[:1] == PLAIN:
        return len(state) - 1
    if state[:1] != ZSTD:
        raise _unreadable(f"unknown form {state[:1].hex() or 'of no bytes'}")
    try:
        size = zstandard.frame_content_size(memoryview(state)[1:])
    except zstandard.ZstdError as error:
        raise _unreadable(str(error)) from error
    if not 0 <= size <= MAX_STATE_BYTES:
        raise _unreadable(f"claims {size} bytes")
    return size


def _unreadable(why: str) -> Corrupt:
    return Corrupt("the state of an event cannot be read", code="event-frame", why=why)

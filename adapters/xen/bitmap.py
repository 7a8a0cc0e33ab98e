"""The answer of VDI.list_changed_blocks: checked, and turned into areas without ever unpacking all of it.

Pure; imports numpy and nothing of ours. A bit is a block of 64 KiB, and the first block is the highest bit of the first
byte. An answer with too few bits would lose data without a sign, so it is an error; bits beyond the disk's end are
padding. What is kept is the bitmap but for its empty parts: 1 MiB for each 512 GiB of disk at the most.
"""

from __future__ import annotations

import binascii
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

BLOCK_BYTES = 65536
_TEXT_STEP = 1 << 11
"""Characters looked at in one go; a multiple of 4, so that each piece can be decoded for itself."""

_GAP_TEXT = 1 << 17
_MOST_TEXT = 1 << 20
_BYTES_STEP = 1 << 18
_NOTHING = "A" * _TEXT_STEP

Area = tuple[int, int]
"""Start and length in bytes."""

Piece = tuple[int, NDArray[np.uint8]]
"""The number of a byte of the bitmap, and some bytes from there on."""


class WrongBitmap(Exception):
    """The answer cannot be what the question asked for; `cause` is a stable code."""

    def __init__(self, cause: str, why: str) -> None:
        super().__init__(why)
        self.cause = cause


class ChangedBlocks:
    """Which blocks of a disk of `size_bytes` changed. The empty one says that nothing did.

    `pieces` are parts of the bitmap in order, each with the number of its first byte; bytes between them are zero.
    """

    def __init__(self, pieces: Sequence[Piece] = (), size_bytes: int = 0) -> None:
        self._pieces = pieces
        self._size_bytes = size_bytes

    def __iter__(self) -> Iterator[Area]:
        """Yield the changed areas in order; they neither overlap nor touch."""
        edges = self._edges()
        for start in edges:
            begin, end = start * BLOCK_BYTES, next(edges, None)
            yield begin, (self._size_bytes if end is None else min(end * BLOCK_BYTES, self._size_bytes)) - begin

    def _edges(self) -> Iterator[int]:
        """The blocks at which the bits flip, from 0 before the first one on."""
        end = before = 0
        for start, bits in self._pieces:
            if start > end and before & 1:
                yield end * 8
            if start > end:
                before = 0
            for at in range(0, len(bits), _BYTES_STEP):
                piece = bits[at : at + _BYTES_STEP]
                yield from (_flips(piece, before) + (start + at) * 8).tolist()
                before = int(piece[-1])
            end = start + len(bits)


def decode(text: str, size_bytes: int) -> ChangedBlocks:
    """Read the base64 text about a disk of `size_bytes`. Raises WrongBitmap."""
    blocks = -(-size_bytes // BLOCK_BYTES)
    needed = -(-blocks // 8)
    told = len(text) // 4 * 3 - text[-2:].count("=")
    if len(text) % 4 or text.find("=", 0, max(0, len(text) - 2)) >= 0:
        raise WrongBitmap("changes-unreadable", "it is no whole base64 text")
    if told < needed:
        raise WrongBitmap("changes-too-short", f"{told} bytes cannot tell of {blocks} blocks")
    pieces = [(start, bits[: needed - start]) for start, bits in _decoded(text) if start < needed]
    spare = needed * 8 - blocks
    if pieces and pieces[-1][0] + len(pieces[-1][1]) == needed:
        pieces[-1][1][-1] &= 0xFF << spare & 0xFF
    if size_bytes % BLOCK_BYTES:  # the storage manager counts whole blocks: nobody is known to tell of this one
        pieces.append(_with_bit(pieces, needed - 1, 1 << spare))
    return ChangedBlocks(pieces, size_bytes)


def _with_bit(pieces: list[Piece], place: int, bit: int) -> Piece:
    """Take the last byte, at `place`, out of the pieces, and return it with one more bit."""
    byte = bit
    if pieces and pieces[-1][0] + len(pieces[-1][1]) == place + 1:
        start, bits = pieces.pop()
        byte |= int(bits[-1])
        if len(bits) > 1:
            pieces.append((start, bits[:-1]))
    return place, np.array([byte], np.uint8)


def _decoded(text: str) -> Iterator[Piece]:
    """Everything but long stretches of nothing, which most of the text is."""
    at, end = 0, len(text)
    while at < end:
        if text.startswith(_NOTHING, at):
            at += _TEXT_STEP
            continue
        stop = last = at + _TEXT_STEP
        while stop < min(end, at + _MOST_TEXT) and stop - last < _GAP_TEXT:
            stop += _TEXT_STEP
            if not text.startswith(_NOTHING, stop - _TEXT_STEP):
                last = stop
        yield at // 4 * 3, _decoded_part(text, at, min(last, end))
        at = last


def _decoded_part(text: str, start: int, stop: int) -> NDArray[np.uint8]:
    """The bytes of a part of the text. Steps that say nothing are not decoded here either."""
    found = np.zeros((stop - start) // 4 * 3 - text.count("=", max(start, stop - 2), stop), np.uint8)
    try:
        for at in range(start, stop, _TEXT_STEP):
            if not text.startswith(_NOTHING, at):
                bits = binascii.a2b_base64(text[at : min(at + _TEXT_STEP, stop)], strict_mode=True)
                place = (at - start) // 4 * 3
                found[place : place + len(bits)] = np.frombuffer(bits, np.uint8)
    except ValueError as error:
        raise WrongBitmap("changes-unreadable", str(error)) from None
    return found


def _flips(piece: NDArray[np.uint8], before: int) -> NDArray[np.int64]:
    """The numbers of the bits that differ from the bit before them; `before` is the byte before the first one."""
    behind = np.empty_like(piece)
    behind[0], behind[1:] = before, piece[:-1]
    mixed = piece + np.uint8(1) > 1  # neither 0 nor 255
    places = np.flatnonzero(mixed | (piece != behind))
    own = np.unpackbits(piece[places]).reshape(-1, 8)
    last = np.empty_like(own)
    last[:, 0], last[:, 1:] = behind[places] & 1, own[:, :-1]
    rows, columns = np.nonzero(own != last)
    return places[rows] * 8 + columns

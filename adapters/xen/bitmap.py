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
_TEXT_STEP = 1 << 10
"""Characters that are looked at, and decoded, together."""

_BYTES_STEP = _TEXT_STEP // 4 * 3
_NOTHING = "A" * _TEXT_STEP
_STEPS_AT_ONCE = 4096
_GAP_STEPS = 128
_LOOKED_AT = 1 << 18
"""Bytes whose bits are compared in one go."""

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
            for at in range(0, len(bits), _LOOKED_AT):
                piece = bits[at : at + _LOOKED_AT]
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
    pieces = [(start, bits[: needed - start]) for start, bits in _decoded(text, told) if start < needed]
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


def _decoded(text: str, length: int) -> Iterator[Piece]:
    """The `length` bytes but for long stretches of nothing, which most of the text is and which is not decoded."""
    steps = [at for at in range(0, len(text), _TEXT_STEP) if not text.startswith(_NOTHING, at)]
    found = np.zeros((-(-len(text) // _TEXT_STEP), _BYTES_STEP), np.uint8)  # its empty parts take no memory
    rows = np.array(steps, np.int64) // _TEXT_STEP
    for first in range(0, len(steps), _STEPS_AT_ONCE):
        near = steps[first : first + _STEPS_AT_ONCE]
        found[rows[first : first + len(near)]] = _decoded_steps(text, near)
    bits = found.reshape(-1)[:length]
    edges = np.flatnonzero(np.diff(rows) > _GAP_STEPS) + 1
    for part in np.split(rows, edges) if steps else ():
        yield int(part[0]) * _BYTES_STEP, bits[part[0] * _BYTES_STEP : (part[-1] + 1) * _BYTES_STEP]


def _decoded_steps(text: str, steps: Sequence[int]) -> NDArray[np.uint8]:
    """One row for each step; only the last one of the text may be short, and its row is filled up with zeros."""
    try:
        bits = binascii.a2b_base64("".join([text[at : at + _TEXT_STEP] for at in steps]), strict_mode=True)
    except ValueError as error:
        raise WrongBitmap("changes-unreadable", str(error)) from None
    rows = np.zeros((len(steps), _BYTES_STEP), np.uint8)
    rows.reshape(-1)[: len(bits)] = np.frombuffer(bits, np.uint8)
    return rows


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

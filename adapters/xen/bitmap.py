"""The answer of VDI.list_changed_blocks: checked, and turned into areas without ever unpacking all of it.

Pure; imports numpy and nothing of ours. A bit is a block of 64 KiB, and the first block is the highest bit of the first
byte. An answer with too few bits would lose data without a sign, so it is an error; bits beyond the disk's end are
padding. What is kept is the bitmap itself, 1 MiB for each 512 GiB of disk, whatever it says.
"""

from __future__ import annotations

import binascii
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

BLOCK_BYTES = 65536
_TEXT_STEP = 1 << 11
"""Characters looked at in one go; a multiple of 4, so that each piece can be decoded for itself."""

_BYTES_STEP = 1 << 18
_NOTHING = "A" * _TEXT_STEP

Area = tuple[int, int]
"""Start and length in bytes."""


class WrongBitmap(Exception):
    """The answer cannot be what the question asked for; `cause` is a stable code."""

    def __init__(self, cause: str, why: str) -> None:
        super().__init__(why)
        self.cause = cause


class ChangedBlocks:
    """Which blocks of a disk of `size_bytes` changed. The empty one says that nothing did."""

    def __init__(self, bits: NDArray[np.uint8] | None = None, size_bytes: int = 0) -> None:
        self._bits = np.zeros(0, np.uint8) if bits is None else bits
        self._size_bytes = size_bytes

    def __iter__(self) -> Iterator[Area]:
        """Yield the changed areas in order; they neither overlap nor touch."""
        edges = self._edges()
        for start in edges:
            begin, end = start * BLOCK_BYTES, next(edges, None)
            yield begin, (self._size_bytes if end is None else min(end * BLOCK_BYTES, self._size_bytes)) - begin

    def _edges(self) -> Iterator[int]:
        """The blocks at which the bits flip, from 0 before the first one on."""
        before = 0
        for at in range(0, len(self._bits), _BYTES_STEP):
            piece = self._bits[at : at + _BYTES_STEP]
            if before in (0, 255) and (piece == before).all():
                continue
            yield from (_flips(piece, before) + at * 8).tolist()
            before = int(piece[-1])


def decode(text: str, size_bytes: int) -> ChangedBlocks:
    """Read the base64 text about a disk of `size_bytes`. Raises WrongBitmap."""
    blocks = -(-size_bytes // BLOCK_BYTES)
    needed = -(-blocks // 8)
    told = len(text) // 4 * 3 - text[-2:].count("=")
    if len(text) % 4 or text.find("=", 0, max(0, len(text) - 2)) >= 0:
        raise WrongBitmap("changes-unreadable", "it is no whole base64 text")
    if told < needed:
        raise WrongBitmap("changes-too-short", f"{told} bytes cannot tell of {blocks} blocks")
    bits = _decoded(text, told)[:needed]
    if spare := needed * 8 - blocks:
        bits[-1] &= 0xFF << spare & 0xFF
    if size_bytes % BLOCK_BYTES:  # the storage manager counts whole blocks: nobody is known to tell of this one
        bits[-1] |= 1 << spare
    return ChangedBlocks(bits, size_bytes)


def _decoded(text: str, length: int) -> NDArray[np.uint8]:
    """All bytes. Most of the text says that nothing changed, and is not decoded."""
    found = np.zeros(length, np.uint8)
    try:
        for at in range(0, len(text), _TEXT_STEP):
            if not text.startswith(_NOTHING, at):
                piece = binascii.a2b_base64(text[at : at + _TEXT_STEP], strict_mode=True)
                found[at // 4 * 3 : at // 4 * 3 + len(piece)] = np.frombuffer(piece, np.uint8)
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

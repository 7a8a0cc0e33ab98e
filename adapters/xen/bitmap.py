"""The answer of VDI.list_changed_blocks: checked, and turned into areas without ever unpacking all of it.

Pure; imports numpy and nothing of ours. A bit is a block of 64 KiB, and the first block is the highest bit of the first
byte. An answer with too few bits would lose data without a sign, so it is an error; bits beyond the disk's end are
padding. What is kept is the bitmap without its empty parts: at most 1 MiB for each 512 GiB of disk.
"""

from __future__ import annotations

import binascii
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

BLOCK_BYTES = 65536
_ROW_TEXT = 1 << 10
"""Characters that are looked at, and decoded, together."""

_ROW_BYTES = _ROW_TEXT // 4 * 3
_NOTHING = "A" * _ROW_TEXT
_ROWS_AT_ONCE = 4096

Area = tuple[int, int]
"""Start and length in bytes."""

Rows = tuple[NDArray[np.int64], NDArray[np.uint8]]
"""Numbers of rows of a bitmap, and their bytes."""


class WrongBitmap(Exception):
    """The answer cannot be what the question asked for; `cause` is a stable code."""

    def __init__(self, cause: str, why: str) -> None:
        super().__init__(why)
        self.cause = cause


class ChangedBlocks:
    """Which blocks of a disk of `size_bytes` changed; bits that no row has are zero. The empty one: none did."""

    def __init__(self, rows: Sequence[Rows] = (), size_bytes: int = 0) -> None:
        self._rows = rows
        self._size_bytes = size_bytes

    def __iter__(self) -> Iterator[Area]:
        """Yield the changed areas in order; they neither overlap nor touch.

        The storage manager counts whole blocks, so a part of one at the disk's end is always among them.
        """
        whole = self._size_bytes - self._size_bytes % BLOCK_BYTES
        edges = self._edges()
        for block in edges:
            start, end = block * BLOCK_BYTES, next(edges) * BLOCK_BYTES
            if start >= whole:
                break
            if end >= whole:
                yield start, self._size_bytes - start
                return
            yield start, end - start
        if whole < self._size_bytes:
            yield whole, self._size_bytes - whole

    def _edges(self) -> Iterator[int]:
        """The blocks at which the bits flip, from 0 before the first one on and to 0 behind the last one."""
        row, byte = -1, 0
        for numbers, bits in self._rows:
            yield from _flips(numbers, bits, row, byte).tolist()
            row, byte = int(numbers[-1]), int(bits[-1, -1])
        if byte & 1:
            yield (row + 1) * _ROW_BYTES * 8


def decode(text: str, size_bytes: int) -> ChangedBlocks:
    """Read the base64 text about a disk of `size_bytes`. Raises WrongBitmap."""
    blocks = -(-size_bytes // BLOCK_BYTES)
    if len(text) % 4:
        raise WrongBitmap("changes-unreadable", "it is no whole base64 text")
    told = len(text) // 4 * 3 - text[-2:].count("=")
    if told * 8 < blocks:
        raise WrongBitmap("changes-too-short", f"{told} bytes cannot tell of {blocks} blocks")
    return ChangedBlocks(list(_decoded(text, told)), size_bytes)


def _decoded(text: str, length: int) -> Iterator[Rows]:
    """The rows of a bitmap of `length` bytes that say something. Most of the text says nothing, and is not decoded."""
    said = [at for at in range(0, len(text), _ROW_TEXT) if not text.startswith(_NOTHING, at)]
    for first in range(0, len(said), _ROWS_AT_ONCE):
        near = said[first : first + _ROWS_AT_ONCE]
        numbers = np.array(near, np.int64) // _ROW_TEXT
        expected = min(len(near) * _ROW_BYTES, length - (int(numbers[-1]) - len(near) + 1) * _ROW_BYTES)
        try:
            found = binascii.a2b_base64("".join([text[at : at + _ROW_TEXT] for at in near]), strict_mode=True)
        except ValueError as error:
            raise WrongBitmap("changes-unreadable", str(error)) from None
        if len(found) != expected:
            raise WrongBitmap("changes-unreadable", "it has padding in the middle")
        bits = np.zeros((len(near), _ROW_BYTES), np.uint8)
        bits.reshape(-1)[: len(found)] = np.frombuffer(found, np.uint8)
        yield numbers, bits


def _flips(numbers: NDArray[np.int64], bits: NDArray[np.uint8], row: int, byte: int) -> NDArray[np.int64]:
    """The blocks whose bits differ from the one before; `byte` is the last one of the `row` said before these."""
    before = np.concatenate([np.array([byte], np.uint8), bits[:-1, -1]])
    apart = np.diff(numbers, prepend=row) != 1  # nothing lies between
    ends = (numbers - np.diff(numbers, prepend=row) + 1)[apart & (before & 1 == 1)] * _ROW_BYTES * 8
    before[apart] = 0
    behind = np.empty_like(bits)
    behind[:, 0], behind[:, 1:] = before, bits[:, :-1]
    mixed = bits + np.uint8(1) > 1  # neither 0 nor 255
    rows, columns = np.nonzero(mixed | (bits != behind))
    own = np.unpackbits(bits[rows, columns]).reshape(-1, 8)
    last = np.empty_like(own)
    last[:, 0], last[:, 1:] = behind[rows, columns] & 1, own[:, :-1]
    places, bit = np.nonzero(own != last)
    return np.sort(np.concatenate([(numbers[rows] * _ROW_BYTES + columns)[places] * 8 + bit, ends]))

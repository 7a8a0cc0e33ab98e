"""Blocks of a disk to chunks, in units, in worker threads: read, zero test, digest, look-up, compress.

Imports `storage` only. Every costly step releases the GIL. A unit borrows a buffer and gives it back once its
chunks are packed; the number of buffers bounds the memory, whatever the disk's size.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from threading import local
from typing import Protocol

import numpy as np
import zstandard
from blake3 import blake3
from numpy.typing import NDArray

from storage.chunks.index import Location
from storage.chunks.rows import DIGEST_BYTES
from storage.errors import Invalid, Unavailable
from storage.packs.format import RAW, ZSTD

Lookup = Callable[[NDArray[np.uint8]], Sequence[Location | None]]

_KEPT_RAW_ABOVE = 0.97
_NO_DIGEST = bytes(DIGEST_BYTES)


class Readable(Protocol):
    """A disk to back up. `pread_into` fills the buffer wholly or raises, and is called from several threads."""

    @property
    def size_bytes(self) -> int:
        """The disk's length; it need not be a multiple of anything."""

    def pread_into(self, offset: int, buffer: memoryview) -> int | None:
        """Fill `buffer` from `offset`."""


class Baseline(Protocol):
    """What the disk held at the last point."""

    def window(self, first_block: int, count: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Return state u8[count] (0 zero or absent, 1 data) and digests u8[count, 32]. Called from several threads."""


@dataclass(frozen=True, slots=True)
class NewChunk:
    """A chunk that the index does not know; `payload` stands in the unit's buffer, where the block was."""

    plain_bytes: int
    method: int
    payload: memoryview


Outcome = Location | NewChunk


@dataclass(frozen=True, slots=True)
class Unit:
    """What became of neighbouring blocks.

    `zeros` and `data` are positions within the unit, u32, of blocks that are (now) zero, or data that differs from
    the baseline; `digests` u8[d, 32] and `outcomes` belong to `data`. The others are as in the baseline.
    """

    first: int
    count: int
    read_bytes: int
    zeros: NDArray[np.uint32]
    data: NDArray[np.uint32]
    digests: NDArray[np.uint8]
    outcomes: Sequence[Outcome]
    buffer: memoryview


class Buffers:
    """A fixed number of page-aligned buffers; taking one waits until one is free."""

    def __init__(self, count: int, size_bytes: int) -> None:
        self.count = count
        self.size_bytes = size_bytes
        self._free: SimpleQueue[memoryview] = SimpleQueue()
        for _ in range(count):
            self._free.put(memoryview(_huge_pages(size_bytes)))

    def take(self) -> memoryview:
        """Borrow a buffer."""
        return self._free.get()

    def give(self, buffer: memoryview) -> None:
        """Return a buffer."""
        self._free.put(buffer)


def _huge_pages(size_bytes: int) -> mmap.mmap:
    """Map private memory, in huge pages where there are any: touching it costs a tenth of the faults."""
    mapped = mmap.mmap(-1, size_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        mapped.madvise(mmap.MADV_HUGEPAGE)
    return mapped


def split_runs(runs: Iterable[tuple[int, int]], blocks: int, at_most: int) -> Iterator[tuple[int, int]]:
    """Cut runs (first block, count) into units. Raises Invalid `block-runs` unless they ascend within the disk."""
    behind = 0
    for first, count in runs:
        if first < behind or count < 1 or first + count > blocks:
            raise Invalid(f"blocks {first} + {count} do not ascend within {blocks} blocks", code="block-runs")
        behind = first + count
        for start in range(first, behind, at_most):
            yield start, min(at_most, behind - start)


class Preparer:
    """Turns blocks into units; one per write, shared by its worker threads."""

    def __init__(
        self,
        disk: Readable,
        chunk_bytes: int,
        *,
        digest_key: bytes,
        level: int,
        lookup: Lookup,
        baseline: Baseline | None,
    ) -> None:
        self._disk = disk
        self._chunk_bytes = chunk_bytes
        self._digest_key = digest_key
        self._level = level
        self._lookup = lookup
        self._baseline = baseline
        self._thread = local()

    def prepare(self, first: int, count: int, buffer: memoryview) -> Unit:
        """Read `count` blocks from `first` into `buffer` and say what they are."""
        offset = first * self._chunk_bytes
        length = min(count * self._chunk_bytes, self._disk.size_bytes - offset)
        plain = buffer[:length]
        got = self._disk.pread_into(offset, plain)
        if got is not None and got != length:
            raise Unavailable(f"the disk gave {got} of {length} bytes at {offset}", code="short-read")
        zero = zero_blocks(plain, self._chunk_bytes)
        digests = self._digests(plain, zero)
        zero_now, data = self._changes(first, zero, digests)
        wanted = digests[data]
        outcomes = [
            location or self._compress(self._block(plain, number))
            for number, location in zip(data.tolist(), self._lookup(wanted), strict=True)
        ]
        return Unit(first, count, length, zero_now, data, wanted, outcomes, buffer)

    def _block(self, plain: memoryview, number: int) -> memoryview:
        return plain[number * self._chunk_bytes : (number + 1) * self._chunk_bytes]

    def _digests(self, plain: memoryview, zero: NDArray[np.bool_]) -> NDArray[np.uint8]:
        """Return u8[n, 32]: digests of the blocks of data, zeros for the others."""
        digests = [
            _NO_DIGEST if empty else blake3(self._block(plain, number), key=self._digest_key, max_threads=1).digest()
            for number, empty in enumerate(zero.tolist())
        ]
        return np.frombuffer(b"".join(digests), np.uint8).reshape(-1, DIGEST_BYTES)

    def _changes(
        self, first: int, zero: NDArray[np.bool_], digests: NDArray[np.uint8]
    ) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
        """Return the positions of blocks that became zero, and of blocks that are new data."""
        zero_now, data = zero, ~zero
        if self._baseline is not None:
            state, known = self._baseline.window(first, len(zero))
            zero_now = zero & (state != 0)
            data = data & ~((state != 0) & (known == digests).all(axis=1))
        return np.flatnonzero(zero_now).astype(np.uint32), np.flatnonzero(data).astype(np.uint32)

    def _compress(self, plain: memoryview) -> NewChunk:
        """Compress a block in its place, so that no output outlives the call: held outputs cost page faults."""
        if not hasattr(self._thread, "zstd"):
            self._thread.zstd = zstandard.ZstdCompressor(level=self._level)
        payload: bytes = self._thread.zstd.compress(plain)
        if len(payload) > len(plain) * _KEPT_RAW_ABOVE:
            return NewChunk(len(plain), RAW, plain)
        kept = plain[: len(payload)]
        kept[:] = payload
        return NewChunk(len(plain), ZSTD, kept)


def zero_blocks(plain: memoryview, chunk_bytes: int) -> NDArray[np.bool_]:
    """Tell for each block whether it is all zero; the last may be short. Blocks of data cost two loads each."""
    whole = len(plain) // chunk_bytes
    words = np.frombuffer(plain[: whole * chunk_bytes], np.uint64).reshape(whole, chunk_bytes // 8)
    zero = np.empty(-(-len(plain) // chunk_bytes), bool)
    zero[:whole] = (words[:, 0] | words[:, -1]) == 0
    for number in np.flatnonzero(zero[:whole]):
        zero[number] = not words[number].any()
    if whole < len(zero):
        zero[whole] = not np.frombuffer(plain[whole * chunk_bytes :], np.uint8).any()
    return zero

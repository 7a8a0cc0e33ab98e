"""One immutable, sorted, mmapped file of the chunk index; imports `storage` only.

Source: FORMAT.md. A run is verified whole when it is opened, so a wrong location never comes out of it. Its pages
are the kernel's: an open run costs no anonymous memory.
"""

from __future__ import annotations

import mmap
import os
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from storage.errors import Corrupt

_HEADER = struct.Struct("<8sIIQQ32s56x")
_MAGIC = b"HFRUN\r\n\0"
_VERSION = 1
_CHECK_BYTES = 8
HEADER_BYTES = 128
PACK_ID_BYTES = 16
PREFIX_BYTES = 8
MAX_ENTRIES = (1 << 32) - 1
MAX_BUCKET_BITS = 24
_ENTRIES_A_BUCKET = 16

TAIL = np.dtype([("rest", "u1", (24,)), ("pack", "<u4"), ("offset", "<u4"), ("stored", "<u4")])
Tails = NDArray[np.void]
"""What stands beside the prefixes: a structured array of TAIL."""


@dataclass(frozen=True, slots=True)
class RunLayout:
    """Where the sections of a run are."""

    entries: int
    packs: int
    bucket_bits: int

    @property
    def directory_at(self) -> int:
        """Offset of the directory."""
        return HEADER_BYTES + PACK_ID_BYTES * self.packs

    @property
    def prefixes_at(self) -> int:
        """Offset of the prefixes."""
        return self.directory_at + _padded(4 * ((1 << self.bucket_bits) + 1))

    @property
    def tails_at(self) -> int:
        """Offset of the rest of the entries."""
        return self.prefixes_at + PREFIX_BYTES * self.entries

    @property
    def size_bytes(self) -> int:
        """The file's length."""
        return self.tails_at + TAIL.itemsize * self.entries

    def header(self, body_hash: bytes) -> bytes:
        """Return the 128 bytes of the header."""
        body = _HEADER.pack(_MAGIC, _VERSION, self.bucket_bits, self.entries, self.packs, body_hash)
        return body + blake3(body).digest(_CHECK_BYTES)


def layout_for(entries: int, packs: int) -> RunLayout:
    """Choose the directory's size for a new run."""
    bits = max(0, (entries // _ENTRIES_A_BUCKET).bit_length())
    return RunLayout(entries, packs, min(bits, MAX_BUCKET_BITS))


def prefixes_of(digests: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Return the prefixes u64[n] of digests u8[n, 32]."""
    leading = np.ascontiguousarray(digests[:, :PREFIX_BYTES])
    return leading.view(">u8").reshape(-1).astype(np.uint64)


def run_name(body_hash: bytes) -> str:
    """The file name of a run."""
    return f"{body_hash.hex()[:32]}.run"


class Run:
    """An open run. Raises Corrupt `index-run` when the file does not verify, FileNotFoundError when it is gone."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size <= HEADER_BYTES:
                raise _damaged(path)
            mapped = memoryview(mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ))
        self.layout, self.body_hash = _read_header(mapped, path)
        body_hash = blake3(mapped[HEADER_BYTES:], max_threads=1).digest()
        if self.layout.size_bytes != size or self.body_hash != body_hash or path.name != run_name(body_hash):
            raise _damaged(path)
        layout = self.layout
        table = bytes(mapped[HEADER_BYTES : layout.directory_at])
        self.packs = tuple(table[at : at + PACK_ID_BYTES] for at in range(0, len(table), PACK_ID_BYTES))
        self._directory = np.frombuffer(mapped, "<u4", (1 << layout.bucket_bits) + 1, layout.directory_at)
        self.prefixes: NDArray[np.uint64] = np.frombuffer(mapped, "<u8", layout.entries, layout.prefixes_at)
        self.tails: Tails = np.frombuffer(mapped, TAIL, layout.entries, layout.tails_at)

    def __len__(self) -> int:
        return self.layout.entries

    def find(
        self, digests: NDArray[np.uint8], prefixes: NDArray[np.uint64], alive: NDArray[np.bool_]
    ) -> NDArray[np.int64]:
        """Return the position of each digest u8[n, 32], or -1; `alive` says per pack whether it may be cited.

        An entry counts only when all 32 bytes agree.
        """
        found = np.full(len(digests), -1, np.int64)
        at = self._lower_bound(prefixes)
        asked = np.arange(len(digests))
        while len(asked):
            inside = at < len(self)
            asked, at = asked[inside], at[inside]
            same = self.prefixes[at] == prefixes[asked]
            asked, at = asked[same], at[same]
            tails = self.tails[at]
            hit = (tails["rest"] == digests[asked, PREFIX_BYTES:]).all(axis=1) & alive[tails["pack"]]
            found[asked[hit]] = at[hit]
            asked, at = asked[~hit], at[~hit] + 1
        return found

    def _lower_bound(self, prefixes: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Return for each prefix the first position that is not smaller, by bisection within its bucket."""
        bits = self.layout.bucket_bits
        bucket = (prefixes >> np.uint64(64 - bits)).astype(np.int64) if bits else np.zeros(len(prefixes), np.int64)
        low = self._directory[bucket].astype(np.int64)
        high = self._directory[bucket + 1].astype(np.int64)
        while True:
            open_ = low < high
            if not open_.any():
                return low
            middle = np.where(open_, (low + high) >> 1, 0)
            smaller = self.prefixes[middle] < prefixes
            low = np.where(open_ & smaller, middle + 1, low)
            high = np.where(open_ & ~smaller, middle, high)


def _read_header(mapped: memoryview, path: Path) -> tuple[RunLayout, bytes]:
    body = bytes(mapped[: _HEADER.size])
    magic, version, bits, entries, packs, body_hash = _HEADER.unpack(body)
    whole = blake3(body).digest(_CHECK_BYTES) == mapped[_HEADER.size : HEADER_BYTES]
    if not whole or magic != _MAGIC or version != _VERSION or bits > MAX_BUCKET_BITS:
        raise _damaged(path)
    return RunLayout(entries, packs, bits), body_hash


def _damaged(path: Path) -> Corrupt:
    return Corrupt(
        f"chunk index run {path.name} does not verify", code="index-run", hint="it is rebuilt from the packs"
    )


def _padded(length: int) -> int:
    return -(-length // 8) * 8

"""What an agent keeps of a backup: a digest of each block under the machine's key, in a file for each point and disk.

Imports `storage`. A file appears whole and durable or not at all, carries a checksum, and is named after its point: one
that does not fit is not used. The key is not in it, so that the file alone tells nothing of the blocks.

Layout, little-endian: magic 8 B, chunk size u32, zero u32, disk size u64, point 16 B, 32 B a block (zeros for a block
of zeros), BLAKE3 of all before 32 B.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from storage.errors import Conflict
from storage.files import publish

DIGEST_BYTES = 32
WINDOW_BLOCKS = 1 << 16
ZERO = bytes(DIGEST_BYTES)
_MAGIC = b"HFDIGST1"
_HEAD = struct.Struct("<8sI4xQ16s")
_SUFFIX = ".digests"


def block_digests(plain: memoryview, chunk_bytes: int, key: bytes) -> bytes:
    """The digests of the blocks in `plain`, one after another; the last block may be short."""
    return b"".join(_digest(plain[at : at + chunk_bytes], key) for at in range(0, len(plain), chunk_bytes))


def _digest(block: memoryview, key: bytes) -> bytes:
    if not np.frombuffer(block, np.uint8).any():
        return ZERO
    return blake3(block, key=key).digest()


class DigestFile:
    """One disk's digests, open; `get` and `put` are safe from several threads."""

    def __init__(self, path: Path, descriptor: int, chunk_bytes: int, size_bytes: int, token: str) -> None:
        self.path = path
        self.token = token
        self.blocks = -(-size_bytes // chunk_bytes)
        self._descriptor = descriptor
        self._head = _HEAD.pack(_MAGIC, chunk_bytes, size_bytes, bytes.fromhex(token))

    @classmethod
    def create(cls, path: Path, chunk_bytes: int, size_bytes: int, token: str) -> DigestFile:
        """Begin a file that will be `path`; its space is taken now. Raises OSError."""
        descriptor = os.open(_partial(path), os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        made = cls(path, descriptor, chunk_bytes, size_bytes, token)
        try:
            os.posix_fallocate(descriptor, 0, made._end + DIGEST_BYTES)
            os.pwrite(descriptor, made._head, 0)
        except BaseException:
            made.drop()
            raise
        return made

    @classmethod
    def open(cls, path: Path, chunk_bytes: int, size_bytes: int, token: str) -> DigestFile | None:
        """Open a finished file; None when it is of another disk size or chunk size, or damaged."""
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        found = cls(path, descriptor, chunk_bytes, size_bytes, token)
        if found._sound():
            return found
        found.close()
        return None

    def get(self, first: int, count: int) -> bytes:
        """The digests of `count` blocks from `first`."""
        wanted = count * DIGEST_BYTES
        held = os.pread(self._descriptor, wanted, _HEAD.size + first * DIGEST_BYTES)
        if len(held) != wanted:
            raise Conflict(f"{self.path} became shorter", code="agent-digests-changed")
        return held

    def put(self, first: int, digests: bytes) -> None:
        """Set the digests of the blocks from `first`."""
        os.pwrite(self._descriptor, digests, _HEAD.size + first * DIGEST_BYTES)

    def finish(self) -> None:
        """Make it whole, durable and found; twice is harmless."""
        if self.path.exists():
            return
        os.pwrite(self._descriptor, self._checksum(), self._end)
        publish(_partial(self.path), self.path)

    def drop(self) -> None:
        """Close it, and remove it if it is not finished."""
        self.close()
        _partial(self.path).unlink(missing_ok=True)

    def close(self) -> None:
        """Close it; twice is harmless."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    @property
    def _end(self) -> int:
        return _HEAD.size + self.blocks * DIGEST_BYTES

    def _sound(self) -> bool:
        if os.fstat(self._descriptor).st_size != self._end + DIGEST_BYTES:
            return False
        if os.pread(self._descriptor, _HEAD.size, 0) != self._head:
            return False
        return os.pread(self._descriptor, DIGEST_BYTES, self._end) == self._checksum()

    def _checksum(self) -> bytes:
        whole = blake3()
        for at in range(0, self._end, 1 << 20):
            whole.update(os.pread(self._descriptor, min(1 << 20, self._end - at), at))
        return whole.digest()


def differences(base: DigestFile, new: DigestFile, first: int, end: int) -> Iterator[tuple[int, int, bool]]:
    """Yield (first block, count, zero) of what `new` has otherwise than `base` in blocks `first` to `end`, in order."""
    for start in range(first, end, WINDOW_BLOCKS):
        count = min(WINDOW_BLOCKS, end - start)
        old, now = _table(base, start, count), _table(new, start, count)
        zero = ~now.any(axis=1)
        kinds = np.where((old == now).all(axis=1), 0, np.where(zero, 2, 1))
        edges = np.flatnonzero(np.diff(kinds, prepend=-1))
        for at, until in zip(edges.tolist(), [*edges[1:].tolist(), count], strict=True):
            if kinds[at]:
                yield start + at, until - at, bool(kinds[at] == 2)


class Known:
    """Where in a file each digest stands; 12 bytes a block are held, looked up by the first eight of a digest."""

    def __init__(self, digests: DigestFile) -> None:
        self._digests = digests
        prefixes = np.empty(digests.blocks, np.uint64)
        for first in range(0, digests.blocks, WINDOW_BLOCKS):
            count = min(WINDOW_BLOCKS, digests.blocks - first)
            prefixes[first : first + count] = _table(digests, first, count)[:, :8].copy().view(np.uint64)[:, 0]
        self._order = np.argsort(prefixes, kind="stable").astype(np.uint32)
        self._prefixes = prefixes[self._order]

    def block(self, digest: bytes) -> int | None:
        """A block with this digest."""
        prefix = np.frombuffer(digest[:8], np.uint64)[0]
        at = int(np.searchsorted(self._prefixes, prefix))
        while at < len(self._prefixes) and self._prefixes[at] == prefix:
            block = int(self._order[at])
            if self._digests.get(block, 1) == digest:
                return block
            at += 1
        return None


def _table(digests: DigestFile, first: int, count: int) -> NDArray[np.uint8]:
    return np.frombuffer(digests.get(first, count), np.uint8).reshape(count, DIGEST_BYTES)


class DigestStore:
    """The digest files of one machine in a directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def path(self, disk: str, token: str) -> Path:
        """Where the digests of a disk at a point are, or will be."""
        return self._directory / f"{_name(disk)}-{token}{_SUFFIX}"

    def found(self, disk: str, chunk_bytes: int, size_bytes: int) -> tuple[dict[str, DigestFile], bool]:
        """The usable files of a disk by their point, the newest first, and whether there were others: those go."""
        usable: dict[str, DigestFile] = {}
        damaged = False
        files = self._directory.glob(f"{_name(disk)}-*{_SUFFIX}")
        for path in sorted(files, key=lambda file: file.stat().st_mtime_ns, reverse=True):
            token = path.name.removesuffix(_SUFFIX).partition("-")[2]
            digests = DigestFile.open(path, chunk_bytes, size_bytes, token)
            if digests is None:
                damaged = True
                path.unlink()
            else:
                usable[token] = digests
        return usable, damaged

    def keep_only(self, disk: str, token: str) -> None:
        """Remove the files of all other points of a disk."""
        for path in self._directory.glob(f"{_name(disk)}-*"):
            if path != self.path(disk, token):
                path.unlink(missing_ok=True)

    def forget(self, disk: str, token: str) -> None:
        """Remove the file of a point that did not come to be."""
        self.path(disk, token).unlink(missing_ok=True)


def _name(disk: str) -> str:
    return sha256(disk.encode(errors="surrogateescape")).hexdigest()[:24]


def _partial(path: Path) -> Path:
    return path.with_name(f"{path.name}.partial")

"""A raw disk of mixed real data: this system's files one after the other, and random bytes between them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

PIECE_BYTES = 4 << 20
RANDOM_SHARE = 8


def make_data(path: Path, size_bytes: int) -> None:
    """Write files of /usr, with a piece of random bytes in every eighth place."""
    pieces = _pieces(Path("/usr"))
    with path.open("wb") as out:
        for number in range(-(-size_bytes // PIECE_BYTES)):
            last = number % RANDOM_SHARE == RANDOM_SHARE - 1
            out.write(os.urandom(PIECE_BYTES) if last else next(pieces))
        out.truncate(size_bytes)


def _pieces(root: Path) -> Iterator[bytes]:
    pending = bytearray()
    for path in _files(root):
        pending += path.read_bytes()
        while len(pending) >= PIECE_BYTES:
            yield bytes(pending[:PIECE_BYTES])
            del pending[:PIECE_BYTES]
    raise RuntimeError(f"{root} holds too few bytes")


def _files(root: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(root):
        folders.sort()
        for name in sorted(names):
            path = Path(folder, name)
            if path.is_file() and not path.is_symlink() and os.access(path, os.R_OK):
                yield path

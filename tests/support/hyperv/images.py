"""Contents to give back to simulated hosts."""

from __future__ import annotations

import random
from collections.abc import Iterator

from adapters.errors import SourceCorrupt
from adapters.port import Extent

PIECE = 65536


class Image:
    """A disk's content; its zero pieces are told as such. `fails_at` is where reading it breaks off."""

    def __init__(self, content: bytes, *, fails_at: int | None = None) -> None:
        self.size_bytes = len(content)
        self._content = content
        self._fails_at = fails_at

    def extents(self) -> Iterator[Extent]:
        """Yield the pieces."""
        for start in range(0, self.size_bytes, PIECE):
            piece = self._content[start : start + PIECE]
            yield Extent(start, len(piece), zero=not any(piece))

    def pread_into(self, offset: int, buffer: memoryview) -> None:
        """Fill the buffer, or break off."""
        if self._fails_at is not None and offset + len(buffer) > self._fails_at:
            raise SourceCorrupt("a chunk is damaged", code="chunk-corrupt")
        buffer[:] = self._content[offset : offset + len(buffer)]


def holey(size_bytes: int, seed: int = 1) -> bytes:
    """Data with holes."""
    dice = random.Random(seed)
    pieces = range(size_bytes // PIECE)
    return b"".join(bytes(PIECE) if dice.random() < 0.5 else dice.randbytes(PIECE) for _ in pieces)

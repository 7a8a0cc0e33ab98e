"""A disk in memory for the NBD server, with faults on request."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Event


class MemoryDisk:
    """Serves `content`; extents are found by looking for zero blocks of `block_bytes`."""

    def __init__(self, content: bytes, block_bytes: int = 4096) -> None:
        self._content = content
        self._block_bytes = block_bytes
        self.size_bytes = len(content)
        self.fail_at: int | None = None
        self.short_at: int | None = None
        self.gate: Event | None = None
        self.entered = Event()

    def pread(self, offset: int, length: int) -> memoryview:
        if self.gate is not None:
            self.entered.set()
            assert self.gate.wait(30)
        if self.fail_at is not None and offset <= self.fail_at < offset + length:
            raise ValueError("a fault on request")
        if self.short_at is not None and offset <= self.short_at < offset + length:
            return memoryview(self._content)[offset : self.short_at]
        return memoryview(self._content)[offset : offset + length]

    def extents(self, start: int, length: int) -> Iterator[tuple[int, int, bool]]:
        end = start + length
        while start < end:
            stop = min(start - start % self._block_bytes + self._block_bytes, self.size_bytes)
            yield start, stop - start, not any(self._content[start:stop])
            start = stop

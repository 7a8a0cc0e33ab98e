"""What the server serves, and the size of what it accepts. Imports nothing of ours."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol


class ServedDisk(Protocol):
    """A read-only disk; its methods are called from several threads at once."""

    @property
    def size_bytes(self) -> int:
        """The size, which never changes."""

    def pread(self, offset: int, length: int) -> bytes | bytearray | memoryview:
        """Return exactly `length` bytes; the range lies inside the disk."""

    def extents(self, start: int, length: int) -> Iterable[tuple[int, int, bool]]:
        """Yield (start, length, zero) over the range, in order and gapless; the last may reach further."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one server accepts. `workers` threads serve each connection, each with at most one request."""

    connections: int = 32
    workers: int = 4
    request_bytes: int = 32 << 20
    piece_bytes: int = 4 << 20
    descriptors: int = 1 << 16
    haggling_seconds: float = 10.0
    send_seconds: float = 60.0

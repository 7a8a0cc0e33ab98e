"""Blocks that an agent says are in its base already: read from the store, so that they need not travel.

Imports `adapters.errors` and `storage.errors`. An agent can name blocks of its own disk's base and of nothing else;
each is verified as it is read.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Protocol

from adapters.errors import SourceInvalid
from storage.errors import HoldfastError

ZERO_BLOCK = -1
logger = logging.getLogger(__name__)


class Base(Protocol):
    """The disk as its base point has it."""

    @property
    def size_bytes(self) -> int:
        """Its size then."""

    def pread(self, offset: int, length: int) -> bytes:
        """Exactly `length` bytes."""


BaseOf = Callable[[str], Base | None]


class Copying:
    """Fills buffers from one disk's base; without one nothing can be copied."""

    def __init__(self, base: Base | None, chunk_bytes: int) -> None:
        self._base = base
        self._chunk_bytes = chunk_bytes

    @property
    def possible(self) -> bool:
        """Whether there is a base."""
        return self._base is not None

    def copy(self, blocks: Sequence[int], offset: int, buffer: memoryview) -> bool:
        """Fill `buffer`, which is for `offset`, with blocks of the base; False when the store cannot give them.

        Raises SourceInvalid for blocks that the base has not, and for one at its own place: that did not change, so it
        was asked for to see whether it is still there.
        """
        chunk = self._chunk_bytes
        if self._base is None or offset % chunk or len(blocks) != -(-len(buffer) // chunk):
            raise _nonsense()
        for place, block in enumerate(blocks):
            part = buffer[place * chunk : (place + 1) * chunk]
            if block == offset // chunk + place or block * chunk + len(part) > self._base.size_bytes:
                raise _nonsense()
            try:
                part[:] = bytes(len(part)) if block == ZERO_BLOCK else self._base.pread(block * chunk, len(part))
            except HoldfastError as error:
                logger.warning("a block of a base cannot be read, and is sent instead: %s", error)
                return False
        return True


def _nonsense() -> SourceInvalid:
    return SourceInvalid("The agent names blocks that its base has not", code="agent-copied")

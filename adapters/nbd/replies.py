"""What a request waits for: the rules that a server's reply must keep, chunk by chunk.

Imports `adapters.errors` and this package only. Sections "Structured reply types" and "Request types": a
reply describes each requested byte exactly once, and nothing else; a breach raises and ends the connection.
"""

from __future__ import annotations

import bisect
from abc import ABC, abstractmethod
from typing import ClassVar

from adapters.errors import AdapterError, SourceDenied, SourceInvalid, SourceLimit, SourceUnavailable
from adapters.nbd import protocol as p
from adapters.nbd.handshake import broken
from adapters.nbd.wire import Wire, receive


class Pending(ABC):
    """One request in flight. `done` turns true once, after the last byte for it was received."""

    command: ClassVar[int]

    def __init__(self, offset: int, length: int, deadline: float) -> None:
        self.offset = offset
        self.length = length
        self.deadline = deadline
        self.done = False
        self.error: AdapterError | None = None

    @abstractmethod
    def simple(self, wire: Wire) -> None:
        """Receive what follows a simple reply without error."""

    @abstractmethod
    def chunk(self, kind: int, length: int, wire: Wire) -> None:
        """Receive the payload of a chunk that is no error."""

    @abstractmethod
    def complete(self) -> None:
        """Check that a reply without error answered the whole request."""

    def fail(self, error: AdapterError) -> None:
        """Keep the first error."""
        self.error = self.error or error


class PendingRead(Pending):
    """A READ into `buffer`: chunks land where they belong, in any order, so that DF is never needed."""

    command = p.CMD_READ

    def __init__(self, offset: int, buffer: memoryview, deadline: float) -> None:
        super().__init__(offset, len(buffer), deadline)
        self.buffer = buffer
        self._covered: list[tuple[int, int]] = []  # disjoint [start, end) in the buffer, ascending, merged

    def simple(self, wire: Wire) -> None:
        """Receive the data of a simple reply."""
        wire.receive_into(self.buffer, self.deadline)
        self._cover(0, self.length)

    def chunk(self, kind: int, length: int, wire: Wire) -> None:
        """Receive data, or clear a hole."""
        if kind == p.REPLY_OFFSET_DATA:
            if length < 9:
                raise broken("a data chunk is empty")
            (offset,) = p.U64.unpack(receive(wire, 8, self.deadline))
            start = self._cover(offset - self.offset, length - 8)
            wire.receive_into(self.buffer[start : start + length - 8], self.deadline)
        elif kind == p.REPLY_OFFSET_HOLE:
            if length != p.HOLE.size:
                raise broken("a hole chunk has the wrong length")
            offset, size = p.HOLE.unpack(receive(wire, p.HOLE.size, self.deadline))
            start = self._cover(offset - self.offset, size)
            self.buffer[start : start + size] = bytes(size)
        else:
            raise broken(f"chunk type {kind} does not answer a read")

    def complete(self) -> None:
        """Every byte must have come."""
        if self._covered != [(0, self.length)]:
            raise broken("a read was called done before all its bytes came")

    def _cover(self, start: int, length: int) -> int:
        """Claim [start, start+length) of the buffer. Raises when it is outside or claimed already."""
        end = start + length
        if start < 0 or length <= 0 or end > self.length:
            raise broken("a chunk lies outside the request")
        at = bisect.bisect_left(self._covered, (start, start))
        if at < len(self._covered) and self._covered[at][0] < end:
            raise broken("chunks overlap")
        if at > 0 and self._covered[at - 1][1] > start:
            raise broken("chunks overlap")
        low = at - 1 if at > 0 and self._covered[at - 1][1] == start else at
        high = at + 1 if at < len(self._covered) and self._covered[at][0] == end else at
        first = self._covered[low][0] if low < at else start
        last = self._covered[at][1] if high > at else end
        self._covered[low:high] = [(first, last)]
        return start


class PendingStatus(Pending):
    """A BLOCK_STATUS; `descriptors` maps context ids to (length, flags) pairs from `offset` on."""

    command = p.CMD_BLOCK_STATUS

    def __init__(self, offset: int, length: int, deadline: float, contexts: frozenset[int], size_bytes: int) -> None:
        super().__init__(offset, length, deadline)
        self._contexts = contexts
        self._size_bytes = size_bytes
        self.descriptors: dict[int, list[tuple[int, int]]] = {}

    def simple(self, wire: Wire) -> None:
        """Refuse: only a structured reply can answer."""
        raise broken("a block status came as a simple reply")

    def chunk(self, kind: int, length: int, wire: Wire) -> None:
        """Receive one context's descriptors."""
        if kind != p.REPLY_BLOCK_STATUS:
            raise broken(f"chunk type {kind} does not answer a block status")
        count, rest = divmod(length - 4, p.DESCRIPTOR.size)
        if count < 1 or rest:
            raise broken("a block status chunk has the wrong length")
        if count > p.MAX_DESCRIPTORS:
            raise SourceLimit("The NBD server's block status is too long", code="nbd-status-length")
        (context,) = p.U32.unpack(receive(wire, 4, self.deadline))
        if context not in self._contexts or context in self.descriptors:
            raise broken("a block status is for a context that was not asked, or came twice")
        listed = list(p.DESCRIPTOR.iter_unpack(receive(wire, length - 4, self.deadline)))
        if not all(extent for extent, _ in listed):
            raise broken("a block status extent is empty")
        total = sum(extent for extent, _ in listed)
        if total - listed[-1][0] >= self.length or self.offset + total > self._size_bytes:
            raise broken("block status extents go past the request or the end of the export")
        self.descriptors[context] = listed

    def complete(self) -> None:
        """Every context must have answered."""
        if self.descriptors.keys() != self._contexts:
            raise broken("a block status lacks a context")


def receive_error(pending: Pending, kind: int, length: int, wire: Wire) -> AdapterError:
    """Receive an error chunk (any type with the error bit) and say what it means."""
    if not 6 <= length <= p.MAX_ERROR_BYTES:
        raise broken("an error chunk has an impossible length")
    body = receive(wire, length, pending.deadline)
    number, words = p.ERROR_HEAD.unpack_from(body)
    tail = 8 if kind == p.REPLY_ERROR_OFFSET else 0
    if words > length - 6 - tail:
        raise broken("an error chunk's message is longer than the chunk")
    return server_error(pending, number, body[6 : 6 + words].decode(errors="replace"))


def server_error(pending: Pending, number: int, words: str = "") -> AdapterError:
    """Translate an error value of the transmission phase (section "Error values")."""
    what = "read" if pending.command == p.CMD_READ else "block status"
    text = f"The NBD server failed a {what} of {pending.length} bytes at {pending.offset}"
    why = "".join(letter if letter.isprintable() else " " for letter in words)[:300].strip()
    if number == p.EPERM:
        return SourceDenied(text, code="nbd-denied", why=why or "EPERM")
    if number in {p.EINVAL, p.EOVERFLOW}:
        return SourceInvalid(text, code="nbd-request-refused", why=why or f"error {number}")
    if number in {p.ENOMEM, p.ENOSPC}:
        return SourceLimit(text, code="nbd-server-limit", why=why or f"error {number}")
    if number == p.ESHUTDOWN:
        return SourceUnavailable(text, code="nbd-shutdown", why=why or "it is shutting down")
    return SourceUnavailable(text, code="nbd-read-error", why=why or f"error {number}")

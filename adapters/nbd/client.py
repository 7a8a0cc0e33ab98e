"""The NBD client: thread-safe, pipelined reads and block status of one export.

Imports `adapters.errors` and this package only. What a server says is checked against the protocol: a lie,
a stall or a broken line raises an AdapterError, and never yields wrong data.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from adapters.errors import AdapterError, SourceConflict, SourceInvalid, SourceLimit, SourceNotFound
from adapters.nbd import protocol as p
from adapters.nbd.address import dial, parse_address
from adapters.nbd.connection import Connection, deadline_in
from adapters.nbd.handshake import Export, broken, list_exports, negotiate
from adapters.nbd.replies import PendingRead, PendingStatus
from adapters.nbd.tls import TlsPolicy

READ_BYTES = 1 << 20
STATUS_BYTES = 1 << 30
_SLACK_EXTENTS = 4096


@dataclass(frozen=True, slots=True)
class Status:
    """`length` bytes at `start` that share a metadata context's `flags`."""

    start: int
    length: int
    flags: int


class NbdClient:
    """One export at `address` (`unix:PATH` or `HOST:PORT`), open until `close`.

    `contexts` are asked for; `self.contexts` holds those the server granted. With `connections` above 1 more
    than one is used if the server allows it (multi-conn). `depth` requests of one read travel at once.
    `timeout_seconds` bounds the negotiation and each request of up to 1 MiB from its sending to its last byte.
    """

    def __init__(
        self,
        address: str,
        export: str = "",
        *,
        contexts: Sequence[str] = (p.BASE_ALLOCATION,),
        tls: TlsPolicy | None = None,
        connections: int = 1,
        depth: int = 16,
        timeout_seconds: float = 60.0,
    ) -> None:
        if any(len(name.encode()) > p.MAX_STRING for name in (export, *contexts)) or len(contexts) > 64:
            raise SourceInvalid("An NBD name is too long", code="nbd-name", why=f"the limit is {p.MAX_STRING} bytes")
        self._timeout = timeout_seconds
        self._depth = depth
        first, self._export = self._connect(address, export, contexts, tls)
        self._connections = [first]
        self.size_bytes = self._export.size_bytes
        self.contexts = frozenset(self._export.contexts)
        self.multi_conn = bool(self._export.flags & p.FLAG_CAN_MULTI_CONN)
        self._read_bytes = self._aligned_down(min(READ_BYTES, self._export.maximum_payload))
        try:
            for _ in range(1, connections if self.multi_conn else 1):
                self._connections.append(self._join(address, export, contexts, tls))
        except AdapterError:
            self.close()
            raise

    @property
    def in_flight(self) -> int:
        """How many requests wait for their reply now."""
        return sum(connection.in_flight for connection in self._connections)

    def pread_into(self, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` from `offset`. Raises SourceInvalid for a range outside the export, else any AdapterError."""
        length = len(buffer)
        if offset < 0 or offset + length > self.size_bytes:
            raise SourceInvalid(
                f"A read of {length} bytes at {offset} is outside the disk",
                code="read-past-end",
                why=f"it has {self.size_bytes} bytes",
            )
        start, end = self._aligned_down(offset), -self._aligned_down(-offset - length)
        if (start, end) == (offset, offset + length):
            self._read(offset, buffer)
        elif length:
            whole = bytearray(end - start)
            self._read(start, memoryview(whole))
            buffer[:] = memoryview(whole)[offset - start : offset - start + length]

    def block_status(self, context: str, start: int = 0, length: int | None = None) -> Iterator[Status]:
        """Yield a range of the disk (to its end by default) in order, gapless, neighbours of equal flags merged.

        Raises SourceNotFound when the server did not grant `context`.
        """
        if context not in self.contexts:
            raise SourceNotFound(f"The NBD server offers no {context}", code="nbd-no-context")
        end = self.size_bytes if length is None else start + length
        if not 0 <= start <= end <= self.size_bytes:
            raise SourceInvalid("A block status range is outside the disk", code="read-past-end")
        return self._merged(self._export.contexts[context], start, end)

    def close(self) -> None:
        """End the session; closing twice is harmless. Reads in flight raise."""
        connections, self._connections = self._connections, []
        for connection in connections:
            connection.close(deadline_in(1))

    def _aligned_down(self, position: int) -> int:
        return position - position % self._export.minimum_block

    def _connect(
        self, address: str, export: str, contexts: Sequence[str], tls: TlsPolicy | None
    ) -> tuple[Connection, Export]:
        deadline = deadline_in(self._timeout)
        wire, entered = negotiate(dial(parse_address(address), deadline), export, contexts, tls, deadline)
        return Connection(wire, entered), entered

    def _join(self, address: str, export: str, contexts: Sequence[str], tls: TlsPolicy | None) -> Connection:
        connection, entered = self._connect(address, export, contexts, tls)
        if (entered.size_bytes, entered.contexts.keys()) != (self.size_bytes, self._export.contexts.keys()):
            connection.close(deadline_in(1))
            raise SourceConflict("The NBD export changed between two connections", code="nbd-export-changed")
        return connection

    def _connection(self) -> Connection:
        try:
            return min(self._connections, key=lambda connection: connection.in_flight)
        except ValueError:
            raise SourceInvalid("The NBD client is closed", code="nbd-closed") from None

    def _read(self, offset: int, buffer: memoryview) -> None:
        """Read an aligned range in pieces, `depth` of them in flight."""
        connection = self._connection()
        flying: deque[PendingRead] = deque()
        try:
            for start in range(0, len(buffer), self._read_bytes):
                if len(flying) == self._depth:
                    connection.wait(flying[0])
                    flying.popleft()
                piece = buffer[start : start + self._read_bytes]
                request = PendingRead(offset + start, piece, deadline_in(self._timeout))
                connection.submit(request)
                flying.append(request)
            while flying:
                connection.wait(flying[0])
                flying.popleft()
        except AdapterError:
            self._drain(connection, flying)
            raise
        except BaseException as error:
            connection.abandon(error)
            self._drain(connection, flying)
            raise

    def _drain(self, connection: Connection, flying: deque[PendingRead]) -> None:
        """Wait for the pieces still in flight: their buffer goes back to the caller."""
        while flying:
            with contextlib.suppress(AdapterError):
                connection.wait(flying.popleft())

    def _merged(self, context: int, start: int, end: int) -> Iterator[Status]:
        held: Status | None = None
        for length, flags in self._descriptors(context, start, end):
            if held is not None and held.flags == flags:
                held = Status(held.start, held.length + length, flags)
                continue
            if held is not None:
                yield held
            held = Status(held.start + held.length if held is not None else start, length, flags)
        if held is not None:
            yield held

    def _descriptors(self, context: int, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Yield (length, flags) from `start` to exactly `end`; fewer than one extent per 512 bytes on average."""
        position, seen = start, 0
        while position < end:
            if position % self._export.minimum_block:
                raise broken("block status extents are not aligned to its block size")
            length = -self._aligned_down(-min(end - position, STATUS_BYTES))
            for extent, flags in self._status(context, position, length):
                inside = min(extent, end - position)
                position += inside
                yield inside, flags
                seen += 1
                if position == end:
                    break
            if seen > _SLACK_EXTENTS + (position - start) // 512:
                raise SourceLimit("The NBD server's block status is too fine", code="nbd-status-length")

    def _status(self, context: int, offset: int, length: int) -> list[tuple[int, int]]:
        connection = self._connection()
        wanted = frozenset(self._export.contexts.values())
        request = PendingStatus(offset, length, deadline_in(self._timeout), wanted, self.size_bytes)
        connection.submit(request)
        connection.wait(request)
        return request.descriptors[context]


def exports(address: str, *, tls: TlsPolicy | None = None, timeout_seconds: float = 60.0) -> list[str]:
    """List the names of a server's exports."""
    deadline = deadline_in(timeout_seconds)
    return list_exports(dial(parse_address(address), deadline), tls, deadline)

"""One client of the read-only server in the transmission phase. Imports `adapters.errors` and this package only.

Several threads run `serve` at once: each receives a request under one lock, works, and replies under another,
so that requests overlap and replies leave in the order in which they are ready. Reads travel in pieces; an
error behind the first piece is an error chunk, never padding. Nothing can be written.
"""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from threading import Lock

from adapters.errors import AdapterError
from adapters.nbd import protocol as p
from adapters.nbd.haggling import ALLOCATION_ID, Agreed
from adapters.nbd.served import Limits, ServedDisk
from adapters.nbd.wire import PlainWire, receive

_IDLE_SECONDS = 10 * 365 * 86400.0
_ALLOWED_FLAGS = {p.CMD_READ: p.CMD_FLAG_DF, p.CMD_BLOCK_STATUS: p.CMD_FLAG_REQ_ONE}
_WRITES = {p.CMD_WRITE, p.CMD_TRIM, p.CMD_WRITE_ZEROES}


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it came."""

    flags: int
    command: int
    handle: int
    offset: int
    length: int


class Refused(Exception):
    """A request is answered by an error; `number` is the protocol's error value."""

    def __init__(self, number: int, words: str) -> None:
        super().__init__(words)
        self.number = number
        self.words = words


class Session:
    """Serves one connection until the client leaves, breaks the protocol, or `stop` is called."""

    def __init__(self, wire: PlainWire, disk: ServedDisk, agreed: Agreed, limits: Limits) -> None:
        self._wire = wire
        self._disk = disk
        self._agreed = agreed
        self._limits = limits
        self._receiving = Lock()
        self._sending = Lock()
        self._over = False
        self.served_bytes = 0

    def serve(self) -> None:
        """Answer requests until the session is over; run by several threads."""
        try:
            while (request := self._next()) is not None:
                self._answer(request)
        except AdapterError:
            self._over = True
            self._wire.shutdown()

    def stop(self) -> None:
        """Take no more requests; those under way are still answered."""
        self._over = True
        with suppress(OSError):
            self._wire.sock.shutdown(socket.SHUT_RD)

    def _next(self) -> Request | None:
        """Receive one request; None when the session is over."""
        with self._receiving:
            if self._over:
                return None
            try:
                head = receive(self._wire, p.REQUEST.size, time.monotonic() + _IDLE_SECONDS)
                magic, *fields = p.REQUEST.unpack(head)
                request = Request(*fields)
                if magic == p.REQUEST_MAGIC and request.command == p.CMD_WRITE:
                    self._discard_payload(request.length)
            except AdapterError:
                self._over = True
                return None
            if magic != p.REQUEST_MAGIC or request.command == p.CMD_DISC:
                self._over = True
                return None
            return request

    def _discard_payload(self, length: int) -> None:
        """Receive what a refused write carries, to stay in step; an absurd length ends the session."""
        if length > self._limits.request_bytes:
            self.stop()
        while length and not self._over:
            length -= len(receive(self._wire, min(length, 1 << 16), self._send_deadline()))

    def _answer(self, request: Request) -> None:
        try:
            self._check(request)
            if request.command == p.CMD_BLOCK_STATUS:
                self._status(request)
            elif self._agreed.structured:
                self._read_structured(request)
            else:
                data = self._pread(request.offset, request.length)
                self._send(p.SIMPLE_REPLY.pack(p.SIMPLE_REPLY_MAGIC, 0, request.handle), data)
        except Refused as refusal:
            self._refuse(request, refusal)

    def _check(self, request: Request) -> None:
        if request.command in _WRITES:
            raise Refused(p.EPERM, "this export is read-only")
        if request.flags & ~_ALLOWED_FLAGS.get(request.command, 0) or request.command not in _ALLOWED_FLAGS:
            raise Refused(p.EINVAL, "unknown command or flag")
        if request.command == p.CMD_BLOCK_STATUS and not self._agreed.allocation:
            raise Refused(p.EINVAL, "no metadata context was selected")
        if request.command == p.CMD_READ and request.length > self._limits.request_bytes:
            raise Refused(p.EOVERFLOW, "the read is too long")
        if not request.length or request.offset + request.length > self._disk.size_bytes:
            raise Refused(p.EINVAL, "the range is empty or outside the export")

    def _pread(self, offset: int, length: int) -> memoryview:
        try:
            data = memoryview(self._disk.pread(offset, length)).cast("B")
        except Exception:  # noqa: BLE001 - whatever the disk raises, the client is told that the read failed
            raise Refused(p.EIO, f"the disk cannot be read at {offset}") from None
        if len(data) != length:
            raise Refused(p.EIO, f"the disk gave {len(data)} bytes instead of {length} at {offset}")
        return data

    def _read_structured(self, request: Request) -> None:
        whole = request.flags & p.CMD_FLAG_DF
        piece = request.length if whole else self._limits.piece_bytes
        end = request.offset + request.length
        for offset in range(request.offset, end, piece):
            data = self._pread(offset, min(piece, end - offset))
            flags = p.REPLY_FLAG_DONE if offset + len(data) == end else 0
            head = self._chunk_head(request, flags, p.REPLY_OFFSET_DATA, 8 + len(data))
            self._send(head + p.U64.pack(offset), data)

    def _status(self, request: Request) -> None:
        most = 1 if request.flags & p.CMD_FLAG_REQ_ONE else self._limits.descriptors
        descriptors = self._descriptors(request.offset, request.length, most)
        body = b"".join(p.DESCRIPTOR.pack(length, flags) for length, flags in descriptors)
        head = self._chunk_head(request, p.REPLY_FLAG_DONE, p.REPLY_BLOCK_STATUS, 4 + len(body))
        self._send(head + p.U32.pack(ALLOCATION_ID) + body)

    def _descriptors(self, offset: int, length: int, most: int) -> list[tuple[int, int]]:
        """Ask the disk for up to `most` extents from `offset` on, neighbours merged, none past the request."""
        merged: list[tuple[int, int]] = []
        position, end = offset, offset + length
        try:
            for start, extent, zero in self._disk.extents(offset, length):
                if start != position or extent <= 0:
                    break
                flags = p.STATE_HOLE | p.STATE_ZERO if zero else 0
                taken = min(extent, end - position)
                if merged and merged[-1][1] == flags:
                    merged[-1] = (merged[-1][0] + taken, flags)
                elif len(merged) == most:
                    break
                else:
                    merged.append((taken, flags))
                position += taken
                if position == end:
                    break
        except Exception:  # noqa: BLE001 - whatever the disk raises, the client is told that the query failed
            raise Refused(p.EIO, f"the extents cannot be listed at {offset}") from None
        if not merged:
            raise Refused(p.EIO, f"the disk has no extent at {offset}")
        return merged

    def _refuse(self, request: Request, refusal: Refused) -> None:
        if not self._agreed.structured or request.command not in _ALLOWED_FLAGS:
            self._send(p.SIMPLE_REPLY.pack(p.SIMPLE_REPLY_MAGIC, refusal.number, request.handle))
            return
        words = refusal.words.encode()
        head = self._chunk_head(request, p.REPLY_FLAG_DONE, p.REPLY_ERROR, p.ERROR_HEAD.size + len(words))
        self._send(head + p.ERROR_HEAD.pack(refusal.number, len(words)) + words)

    def _chunk_head(self, request: Request, flags: int, kind: int, length: int) -> bytes:
        return p.CHUNK_FULL.pack(p.STRUCTURED_REPLY_MAGIC, flags, kind, request.handle, length)

    def _send(self, head: bytes, data: memoryview | None = None) -> None:
        with self._sending:
            self._wire.send_parts([memoryview(head), *([data] if data else [])], self._send_deadline())
            self.served_bytes += len(data) if data else 0

    def _send_deadline(self) -> float:
        return time.monotonic() + self._limits.send_seconds

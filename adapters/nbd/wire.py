"""Bytes to and from one peer, with a deadline on each transfer. Imports `adapters.errors` only.

A transfer is whole or raises SourceUnavailable; deadlines are `time.monotonic()` seconds. One thread may
send while another receives.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from typing import Protocol

from adapters.errors import SourceUnavailable

MAX_UNIX_PATH = 107  # bytes: the kernel's sun_path less its final NUL
_TIMEVAL = struct.Struct("@ll")


class Wire(Protocol):
    """An open two-way byte stream."""

    def send(self, data: bytes, deadline: float) -> None:
        """Send all of `data`."""

    def receive_into(self, buffer: memoryview, deadline: float) -> None:
        """Fill `buffer`."""

    def shutdown(self) -> None:
        """Wake every thread that sends or receives; they raise."""

    def close(self) -> None:
        """Release the socket; no thread may be inside another method."""


def receive(wire: Wire, length: int, deadline: float) -> bytes:
    """Receive exactly `length` bytes."""
    buffer = bytearray(length)
    wire.receive_into(memoryview(buffer), deadline)
    return bytes(buffer)


def lost(why: str = "the peer closed the connection") -> SourceUnavailable:
    """Build the error of a connection that broke."""
    return SourceUnavailable("The NBD connection was lost", code="nbd-lost", why=why)


def stalled() -> SourceUnavailable:
    """Build the error of a peer that does not keep its deadline."""
    return SourceUnavailable("The NBD server does not answer", code="nbd-stalled", why="its deadline passed")


class PlainWire:
    """A blocking socket whose waits are bounded by the kernel (SO_RCVTIMEO), so that one call fills a buffer."""

    def __init__(self, sock: socket.socket) -> None:
        sock.settimeout(None)
        self.sock = sock

    def send(self, data: bytes, deadline: float) -> None:
        """Send all of `data`."""
        self.send_parts([memoryview(data)], deadline)

    def send_parts(self, parts: list[memoryview], deadline: float) -> None:
        """Send byte views one behind the other, without joining them."""
        while parts:
            self._wait_at_most(socket.SO_SNDTIMEO, deadline)
            try:
                count = self.sock.sendmsg(parts)
            except BlockingIOError:
                raise stalled() from None
            except OSError as error:
                raise lost(error.strerror or "") from None
            while parts and count >= len(parts[0]):
                count -= len(parts.pop(0))
            if count:
                parts[0] = parts[0][count:]

    def receive_into(self, buffer: memoryview, deadline: float) -> None:
        """Fill `buffer`."""
        while buffer:
            self._wait_at_most(socket.SO_RCVTIMEO, deadline)
            try:
                count = self.sock.recv_into(buffer, 0, socket.MSG_WAITALL)
            except BlockingIOError:
                raise stalled() from None
            except OSError as error:
                raise lost(error.strerror or "") from None
            if not count:
                raise lost()
            buffer = buffer[count:]

    def _wait_at_most(self, option: int, deadline: float) -> None:
        microseconds = int((deadline - time.monotonic()) * 1_000_000)
        if microseconds <= 0:
            raise stalled()
        try:
            self.sock.setsockopt(socket.SOL_SOCKET, option, _TIMEVAL.pack(*divmod(microseconds, 1_000_000)))
        except OSError as error:
            raise lost(error.strerror or "") from None

    def shutdown(self) -> None:
        """Wake every thread that sends or receives."""
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Release the socket."""
        self.sock.close()

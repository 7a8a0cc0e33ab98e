"""XML-RPC to one host, each call sent exactly once. Imports nothing of ours.

The standard library's transport sends a call again when the connection broke, and the XenAPI package does after
SESSION_INVALID: either makes two snapshots where one was asked for. Here nothing is repeated, connecting and every wait
for bytes end, and what a host may answer is bounded.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from http.client import HTTPSConnection
from typing import Any
from xmlrpc.client import Transport

import XenAPI

_PIECE = 1 << 16


class ReplyTooLong(Exception):
    """A host answered more than we accept."""


class OneTry(Transport):
    """One connection to one host. `seconds` bounds each wait for bytes; a whole reply may take ten times that."""

    def __init__(
        self, context: ssl.SSLContext, seconds: float, most_bytes: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__()
        self.accept_gzip_encoding = False  # a small reply cannot unpack into a large one
        self._context = context
        self._seconds = seconds
        self._most_bytes = most_bytes
        self._clock = clock

    def request(self, host: Any, handler: str, request_body: Any, verbose: bool = False) -> Any:
        """Send once, whatever happens."""
        return self.single_request(host, handler, request_body, verbose)

    def make_connection(self, host: Any) -> HTTPSConnection:
        """Return the connection; it connects at its first use."""
        known, connection = self._connection
        if not isinstance(connection, HTTPSConnection) or known != host:
            connection = HTTPSConnection(host, timeout=self._seconds, context=self._context)
            self._connection = host, connection
        return connection

    def parse_response(self, response: Any) -> Any:
        """Read a reply to its end. Raises ReplyTooLong, TimeoutError and ConnectionResetError."""
        parser, unmarshaller = self.getparser()
        left, deadline = self._most_bytes, self._clock() + 10 * self._seconds
        while piece := response.read1(_PIECE):
            left -= len(piece)
            if left < 0:
                raise ReplyTooLong(f"more than {self._most_bytes} bytes")
            if self._clock() > deadline:
                raise TimeoutError("the reply takes too long")
            parser.feed(piece)
        if response.length:
            raise ConnectionResetError("the reply was cut")
        response.read()  # nothing is left, but only this frees the connection for the next call
        parser.close()
        return unmarshaller.close()


class Line:
    """One connection to a host's API; for one thread at a time. Nothing of what passes is kept."""

    def __init__(self, host: str, port: int, transport: OneTry) -> None:
        name = f"[{host}]" if ":" in host and not host.startswith("[") else host
        self.host = host
        self.place = f"{name}:{port}"
        self._proxy = XenAPI.Session(f"https://{self.place}", transport=transport)
        self._transport = transport

    def connect(self, seconds: float) -> None:
        """Connect and verify the host's certificate within `seconds` for each; `send` would, too, but later."""
        connection = self._transport.make_connection(self.place)
        waits, connection.timeout = connection.timeout, seconds
        try:
            connection.connect()
            connection.sock.settimeout(waits)
        except BaseException:
            self.close()
            raise
        connection.timeout = waits

    def send(self, method: str, params: tuple[object, ...]) -> Any:
        """Send one call and return what the host answered, Status and all."""
        # Looked up as a whole, a method bypasses the package's dispatcher, which would log in and send it again.
        return getattr(self._proxy, method)(*params)

    def close(self) -> None:
        """Hang up."""
        self._transport.close()

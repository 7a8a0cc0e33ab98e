"""HTTP connections whose heads end: bounded in bytes, in headers and in time, before anybody knows who sends them.

Imports uvicorn and `catalog.api`. What comes behind a head is bounded by `catalog.api.edge`.
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from catalog.api.problems import problem_response
from storage.errors import Invalid

HEAD_BYTES = 32 * 1024
HEADERS = 100
HEAD_SECONDS = 30.0
"""From the connection, or the first byte of a later request, to the end of a head."""


class EndlessHeadError(Exception):
    """A head with more headers than any client sends, or headers where none belong."""


class BoundedHeads(HttpToolsProtocol):
    """One connection."""

    _in_head = True
    """Between the end of one request and the end of the next one's head."""
    _ended = False
    _taken = 0
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Wait for a head."""
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go."""
        super().connection_lost(exc)
        self._forget_deadline()

    def data_received(self, data: bytes) -> None:
        """Parse; a head that grows too long is answered, and its connection closed."""
        was_in_head, self._ended = self._in_head, False
        super().data_received(data)
        self._taken = self._taken + len(data) if was_in_head and self._in_head and not self._ended else 0
        if self._taken > HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response(f"the head of a request has more than {HEAD_BYTES} bytes")

    def on_message_begin(self) -> None:
        """Begin a request."""
        self._await_head()
        super().on_message_begin()

    def on_message_complete(self) -> None:
        """End a request."""
        self._in_head = self._ended = True
        super().on_message_complete()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, but none behind the body."""
        if not self._in_head or len(self.headers) >= HEADERS:
            raise EndlessHeadError
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Go on with what follows the head."""
        self._in_head = False
        self._forget_deadline()
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """Say as a problem that this is no request, and close."""
        problem = problem_response(Invalid("this is no HTTP request", code="request-malformed", why=msg), "")
        head = [b"HTTP/1.1 400 Bad Request", *(name + b": " + value for name, value in problem.raw_headers)]
        self.transport.write(b"\r\n".join([*head, b"connection: close", b"", bytes(problem.body)]))
        self.transport.close()

    def _await_head(self) -> None:
        self._forget_deadline()
        self._deadline = self.loop.call_later(HEAD_SECONDS, self.transport.abort)

    def _forget_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

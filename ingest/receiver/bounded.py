"""HTTP connections with an end: each part of a request has its time and its size, whoever sends it.

Imports uvicorn, `ingest.agent` and the limits. The application bounds what an agent sends in bodies; this bounds what
reaches us before anybody knows who sends it, and after a request was refused.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ingest.agent.frames import MAX_BODY_BYTES
from ingest.receiver.limits import Limits

HEAD_BYTES = 16 * 1024
HEADERS = 64
MESSAGE_BYTES = 2 * MAX_BODY_BYTES
"""Of a refused body so much is read and thrown away, so that its sender can hear why."""


class UnboundedRequestError(Exception):
    """A request that no agent sends; its connection is closed."""


class BoundedHttp(HttpToolsProtocol):
    """One connection. `closed` is done when it is; `scope["state"]["known"]` says that a good token was shown."""

    def __init__(self, limits: Limits, **uvicorn: Any) -> None:
        super().__init__(**uvicorn)
        self.closed: asyncio.Future[None] = self.loop.create_future()
        self._limits = limits
        self._deadline: asyncio.TimerHandle | None = None
        self._in_head = True
        self._in_message = False
        self._taken = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Wait for a request."""
        super().connection_made(transport)
        self._end_after(self._limits.head)

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go."""
        super().connection_lost(exc)
        if self._deadline is not None:
            self._deadline.cancel()
        if not self.closed.done():
            self.closed.set_result(None)

    def data_received(self, data: bytes) -> None:
        """Parse; what grows beyond any request is cut off."""
        self._taken += len(data)
        super().data_received(data)
        if self._taken > (HEAD_BYTES if self._in_head else MESSAGE_BYTES):
            self.transport.abort()

    def on_message_begin(self) -> None:
        """Begin a request; it must not come before the answer to the last one."""
        if self.cycle is not None and not self.cycle.response_complete:
            raise UnboundedRequestError
        if self.cycle is not None:
            self._end_after(self._limits.head)
        self._in_head = self._in_message = True
        self._taken = 0
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, but none behind the body."""
        if not self._in_head or len(self.headers) >= HEADERS:
            raise UnboundedRequestError
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Begin the body."""
        self._in_head = False
        self._end_after(self._whole)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """End the request; unless it was answered already, its answer is under way."""
        self._in_message = False
        self._end_after(self._rest if self.cycle.response_complete else self._whole)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Rest between two requests, or for what is left of a body."""
        super().on_response_complete()
        self._end_after(self._limits.linger if self._in_message else self._rest)

    def send_400_response(self, msg: str) -> None:
        """Break off: a farewell would be waited for by TLS, and whatever still comes be read."""
        self.transport.abort()

    @property
    def _whole(self) -> float:
        """Longer than the application waits, so that it can say that it was too long."""
        return self._limits.body + self._limits.linger

    @property
    def _rest(self) -> float:
        return self._limits.keep_alive if self.scope["state"].get("known") else self._limits.linger

    def _end_after(self, seconds: float) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = self.loop.call_later(seconds, self.transport.abort)

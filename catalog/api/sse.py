"""Server-sent events: what happens, told to a client that keeps listening. Imports anyio and starlette.

A stream asks its source again and again, sends what is new and a comment when nothing is, and ends with the client,
with the server, or when the source says so. It keeps nothing for a client that does not read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import anyio
import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from catalog.api.pool import in_thread
from storage.errors import HoldfastError

EVENT_STREAM = "text/event-stream"
ASK_SECONDS = 0.25
HEARTBEAT_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Told:
    """One message; `data` is JSON without line breaks."""

    event: str
    data: bytes
    id: int | None = None

    def encoded(self) -> bytes:
        """The message as it goes over the line."""
        head = b"" if self.id is None else b"id: %d\n" % self.id
        return head + b"event: %s\ndata: %s\n\n" % (self.event.encode(), self.data)


Source = Callable[[], Sequence[Told] | None]
"""What is new, asked in a thread; None when nothing will come any more."""


class EventStream(Response):
    """Sends what `source` tells. `close` is called once it ended; a failure of the source is the last message."""

    def __init__(self, source: Source, app_state: Any, *, close: Callable[[], None]) -> None:
        super().__init__(None, 200, {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}, EVENT_STREAM)
        del self.headers["content-length"]
        self._source = source
        self._state = app_state
        self._close = close
        self._over = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Tell it all until somebody has enough."""
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            if not scope.get("state", {}).get("head"):
                async with anyio.create_task_group() as group:
                    group.start_soon(_until_gone, receive, group.cancel_scope)
                    await self._tell(send)
                    group.cancel_scope.cancel()
            await send({"type": "http.response.body", "body": b""})
        finally:
            self._close()

    async def _tell(self, send: Send) -> None:
        quiet = HEARTBEAT_SECONDS
        while not self._over and not getattr(self._state, "stopping", False):
            messages = await in_thread(self._asked)
            if messages is None:
                return
            if messages:
                await _body(send, b"".join(message.encoded() for message in messages))
                quiet = 0.0
                continue
            if quiet >= HEARTBEAT_SECONDS:
                await _body(send, b": still here\n\n")
                quiet = 0.0
            await anyio.sleep(ASK_SECONDS)
            quiet += ASK_SECONDS

    def _asked(self) -> Sequence[Told] | None:
        try:
            return self._source()
        except HoldfastError as error:
            self._over = True
            why = {"code": error.code, "kind": error.kind, "detail": str(error)}
            return [Told("error", msgspec.json.encode(why))]


async def _body(send: Send, body: bytes) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": True})


async def _until_gone(receive: Receive, scope: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()

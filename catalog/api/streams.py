"""Answers too large to hold: sent piece by piece as the client takes them, and dropped at once when it goes.

Imports anyio and starlette. Work happens in the bounded pool; whatever ends the answer, `close` runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import anyio
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from catalog.api.pool import in_thread


class Stream(Response):
    """`pieces` behind `first`, which was made before the head is sent so that a failure could still be told.

    `close` frees what makes the pieces, and may be called again; with `stoppable` also while a piece is being made.
    """

    def __init__(
        self,
        pieces: Iterator[bytes],
        *,
        media_type: str,
        headers: Mapping[str, str],
        close: Callable[[], None],
        stoppable: bool = False,
    ) -> None:
        super().__init__(None, 200, dict(headers), media_type)
        del self.headers["content-length"]
        self._pieces = pieces
        self._close = close
        self._stoppable = stoppable
        try:
            self._first: bytes | None = next(pieces, None)
        except BaseException:
            close()
            raise

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it all, or stop when the client goes."""
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            if scope.get("state", {}).get("head"):
                await send({"type": "http.response.body", "body": b""})
                return
            async with anyio.create_task_group() as group:
                group.start_soon(self._until_gone, receive, group.cancel_scope)
                await self._send_all(send)
                group.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                await in_thread(self._close)

    async def _send_all(self, send: Send) -> None:
        piece = self._first
        while piece is not None:
            if piece:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            piece = await in_thread(next, self._pieces, None)
        # A client that has seen the end may come again at once, and finds what this answer held free.
        await in_thread(self._close)
        await send({"type": "http.response.body", "body": b""})

    async def _until_gone(self, receive: Receive, scope: anyio.CancelScope) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        if self._stoppable:
            with anyio.CancelScope(shield=True):
                await in_thread(self._close)
        scope.cancel()


def closing_all(*sources: Iterator[object]) -> Callable[[], None]:
    """What closes generators, in this order, and with them what they read from."""

    def close() -> None:
        for source in sources:
            end = getattr(source, "close", None)
            if callable(end):
                end()

    return close

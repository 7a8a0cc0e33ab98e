"""What every request passes before and every answer after the application: one plain ASGI layer.

Imports `catalog.api`. Bounds (how many at once, length of the URL, size and duration of the body), the Host header,
HEAD, security headers and measurements. Nothing here blocks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from time import perf_counter
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from catalog.api.metrics import Metrics
from catalog.api.problems import of_fault, problem_response
from catalog.api.settings import ServeSettings
from storage.errors import Denied, HoldfastError, Invalid, Limit

SECURITY_HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
RAW_HEADERS = [(name.lower().encode(), value.encode()) for name, value in SECURITY_HEADERS.items()]
WITHOUT_BODY = frozenset({"GET", "HEAD", "OPTIONS"})


class Edge:
    """Wraps the application; one value for all its requests."""

    def __init__(self, app: ASGIApp, settings: ServeSettings, metrics: Metrics) -> None:
        self._app = app
        self._limits = settings.limits
        self._hosts = _hosts(settings)
        self._metrics = metrics
        self._under_way = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        call = _Call({**scope, "state": dict(scope.get("state", {}))}, receive, send)
        self._under_way += 1
        try:
            await self._served(call)
        finally:
            self._under_way -= 1
            self._metrics.answered(call.operation, call.status, perf_counter() - call.begun)

    async def _served(self, call: _Call) -> None:
        try:
            self._admit(call.scope)
            body = await self._body(call) if call.scope["method"] not in WITHOUT_BODY else b""
        except HoldfastError as error:
            await problem_response(error, str(call.scope["path"]))(call.scope, call.receive, call.send)
            return
        if call.scope["method"] == "HEAD":
            call.scope["method"] = "GET"
            call.scope["state"]["head"] = call.head = True
        try:
            await self._app(call.scope, call.replaying(body), call.send)
        except Exception as error:
            if call.status:
                raise
            await problem_response(of_fault(error), str(call.scope["path"]))(call.scope, call.receive, call.send)

    def _admit(self, scope: Scope) -> None:
        if self._under_way > self._limits.requests:
            raise Limit("too many requests are under way", code="requests-too-many", hint="try again soon")
        if len(scope["raw_path"]) + len(scope["query_string"]) > self._limits.url_bytes:
            raise Limit(f"the URL is longer than {self._limits.url_bytes} bytes", code="url-length")
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if self._hosts and _name_of(host) not in self._hosts:
            raise Invalid(
                "this server does not answer to that host name",
                code="host-unknown",
                hint="use the address it listens on, or name the host in the settings",
            )
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2].lower() != host.lower():
            # No page of another origin works here, least of all where nobody needs a credential.
            raise Denied("requests of other sites' pages are not answered", code="origin-foreign")

    async def _body(self, call: _Call) -> bytes:
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                return await self._read(call)
        except TimeoutError:
            raise Limit("the body did not arrive in time", code="body-slow") from None

    async def _read(self, call: _Call) -> bytes:
        most = self._limits.body_bytes
        declared = Headers(scope=call.scope).get("content-length", "")
        if declared.isdigit() and int(declared[:20]) > most:
            raise Limit(f"the body is larger than {most} bytes", code="body-size")
        taken = bytearray()
        while True:
            message = await call.receive()
            if message["type"] != "http.request":
                break
            taken += message.get("body", b"")
            if len(taken) > most:
                raise Limit(f"the body is larger than {most} bytes", code="body-size")
            if not message.get("more_body", False):
                break
        return bytes(taken)


class _Call:
    """One request on its way: what was answered so far."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self.receive = receive
        self._send = send
        self.begun = perf_counter()
        self.status = 0
        self.head = False

    @property
    def operation(self) -> str:
        """The operation that the request was matched to."""
        return str(getattr(self.scope.get("route"), "name", "none"))

    async def send(self, message: Message) -> None:
        """Pass on a part of the answer."""
        if message["type"] == "http.response.start":
            self.status = int(message["status"])
            headers: list[Any] = list(message.get("headers", ()))
            present = {name for name, _ in headers}
            message["headers"] = headers + [pair for pair in RAW_HEADERS if pair[0] not in present]
        elif self.head:
            message = {**message, "body": b""}
        await self._send(message)

    def replaying(self, body: bytes) -> Receive:
        """What the application receives: the body that was read, then whatever the client does."""
        given = False

        async def receive() -> Message:
            nonlocal given
            if given:
                return await self.receive()
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        return receive


def _hosts(settings: ServeSettings) -> frozenset[str]:
    """The names this server answers to; empty for any, where it is not on loopback and none is named."""
    if settings.loopback:
        return frozenset({"localhost", "127.0.0.1", "::1", settings.host, *settings.hosts})
    return frozenset({settings.host, *settings.hosts}) if settings.hosts else frozenset()


def _name_of(host: str) -> str:
    """The host of a Host header without its port."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower()

"""Connections to a pool's hosts, each one thread's for the length of a call. Imports `adapters.errors`, this package.

What goes wrong leaves here without what it was made of: no exception that could hold a session id or a password is the
cause or the context of another.
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable
from typing import Any

from adapters.errors import AdapterError, SourceInvalid
from adapters.xen.failures import UNANSWERED, Redaction, connection_error
from adapters.xen.rpc import Line, OneTry
from adapters.xen.values import wire

MOST_REPLY_BYTES = 256 << 20
"""A bitmap of 64 TiB, more than a VDI can have today, is 171 MiB in base64."""

_MOST_IDLE = 8
_MOST_DETAILS = 16


class Refused(Exception):
    """The host answered with a failure: `details` is its name and its parameters, fit to be shown."""

    def __init__(self, details: list[str]) -> None:
        super().__init__(details[0])
        self.details = details


class Unreachable(Exception):
    """No connection, and so nothing was sent; `error` is what to raise of it."""

    def __init__(self, error: AdapterError) -> None:
        super().__init__(error.what)
        self.error = error


class Unanswered(Exception):
    """Nobody knows whether the host heard a call; `error` is what to raise of it if it did not."""

    def __init__(self, error: AdapterError) -> None:
        super().__init__(error.what)
        self.error = error


class Lines:
    """Idle connections are kept for the next call to the same host, until `hang_up` or `close`."""

    def __init__(
        self, context: ssl.SSLContext, port: int, seconds: float, connect_seconds: float, clock: Callable[[], float]
    ) -> None:
        self.redaction = Redaction()
        self._context = context
        self._port = port
        self._seconds = seconds
        self._connect_seconds = connect_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._idle: list[tuple[float, Line]] = []
        self._closed = False

    def ask(self, host: str, method: str, params: tuple[object, ...], idle_seconds: float) -> Any:
        """Send one call once and return the Value of its answer; a connection idle for longer is not used.

        Raises Refused, Unreachable and Unanswered.
        """
        line = self._take(host, idle_seconds)
        healthy = False
        try:
            value = self._send(line, method, params)
            healthy = True
        except Refused:
            healthy = True
            raise
        finally:
            self._give(line, healthy)
        return value

    def hang_up(self) -> None:
        """Close what is idle."""
        with self._lock:
            idle, self._idle = self._idle, []
        for _, line in idle:
            line.close()

    def close(self) -> None:
        """Close what is idle, and each connection under way once its call is done."""
        self._closed = True
        self.hang_up()

    def _take(self, host: str, idle_seconds: float) -> Line:
        with self._lock:
            for at in range(len(self._idle) - 1, -1, -1):
                since, line = self._idle[at]
                if line.host == host and self._clock() - since <= idle_seconds:
                    del self._idle[at]
                    return line
        transport = OneTry(self._context, self._seconds, MOST_REPLY_BYTES, self._clock)
        line = Line(host, self._port, transport)
        try:
            line.connect(self._connect_seconds)
        except OSError as error:
            failed = connection_error(error, line.place, self.redaction)
        else:
            return line
        raise Unreachable(failed)

    def _give(self, line: Line, healthy: bool) -> None:
        with self._lock:
            if healthy and not self._closed:
                self._idle.append((self._clock(), line))
                unused = self._idle.pop(0)[1] if len(self._idle) > _MOST_IDLE else None
            else:
                unused = line
        if unused is not None:
            unused.close()

    def _send(self, line: Line, method: str, params: tuple[object, ...]) -> Any:
        sent = tuple(map(wire, params))
        try:
            reply = line.send(method, sent)
        except UNANSWERED as error:
            failed = connection_error(error, line.place, self.redaction)
        else:
            if isinstance(reply, dict) and reply.get("Status") == "Success" and "Value" in reply:
                return reply["Value"]
            details = reply.get("ErrorDescription") if isinstance(reply, dict) else None
            if isinstance(details, list) and details:
                raise Refused([self.redaction.shown(str(part)) for part in details[:_MOST_DETAILS]])
            failed = SourceInvalid(
                f"{line.host} did not answer as XenAPI does",
                code="answer-unreadable",
                why="there is neither a value nor a failure in it",
            )
        raise Unanswered(failed)

"""QEMU's machine protocol (QMP): a synchronous client of one unix socket.

Imports `adapters.errors` and `adapters.qemu.refusals`. A connection that times out or breaks its protocol
is closed, never reused: a late answer can then not be taken for another command's. Specification: QEMU's
docs/interop/qmp-spec.txt.
"""

from __future__ import annotations

import socket
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import RLock
from typing import Any, TypeVar

import msgspec

from adapters.errors import AdapterError, SourceConflict, SourceDenied, SourceInvalid, SourceUnavailable
from adapters.qemu.refusals import refusal

T = TypeVar("T")
Json = Mapping[str, object]

MAX_LINE_BYTES = 16 << 20
MAX_EVENTS = 1024
_RECEIVE_BYTES = 1 << 16


class _Refusal(msgspec.Struct):
    klass: str = msgspec.field(name="class")
    desc: str


class _Message(msgspec.Struct):
    """Any line of QEMU's: a greeting, an answer, a refusal or an event."""

    id: int | None = None
    answer: msgspec.Raw | msgspec.UnsetType = msgspec.field(name="return", default=msgspec.UNSET)
    error: _Refusal | None = None
    event: str | None = None
    data: dict[str, Any] = {}
    greeting: dict[str, Any] | None = msgspec.field(name="QMP", default=None)

    def is_before(self, number: int) -> bool:
        """Whether this answers an earlier command, one that an interrupt kept from being waited for."""
        return self.id is not None and self.id < number


class Qmp:
    """One connection; QEMU serves one client at a time on a socket. Commands of several threads take turns."""

    def __init__(self, path: Path, *, greeting_seconds: float = 5.0, command_seconds: float = 60.0) -> None:
        self._path = path
        self._command_seconds = command_seconds
        self._lock = RLock()
        self._received = bytearray()
        self._events: deque[tuple[str, Json]] = deque(maxlen=MAX_EVENTS)
        self._next_id = 0
        self._socket: socket.socket | None = _connect(path, greeting_seconds)
        try:
            self._greet(time.monotonic() + greeting_seconds)
            self.execute("qmp_capabilities")
        except AdapterError:
            self.close()
            raise

    @property
    def closed(self) -> bool:
        """Whether the connection is gone; a new one may meet another QEMU process."""
        return self._socket is None

    def execute(self, command: str, arguments: Json | None = None) -> None:
        """Run a command whose answer carries nothing. Raises what `refusal` makes of an error."""
        self._execute(command, arguments)

    def query(self, command: str, shape: type[T], arguments: Json | None = None) -> T:
        """Run a command and return its answer as `shape`."""
        answer = self._execute(command, arguments)
        try:
            return msgspec.json.decode(answer, type=shape)
        except msgspec.MsgspecError as error:
            raise _broken(f"{command} answered in an unknown shape", str(error)) from None

    def wait_event(self, name: str, accept: Callable[[Json], bool], seconds: float) -> None:
        """Take the first event whose data `accept` likes, waiting for it if it has not come yet."""
        deadline = time.monotonic() + seconds
        with self._lock:
            while True:
                for event in self._events:
                    if event[0] == name and accept(event[1]):
                        self._events.remove(event)
                        return
                if self._receive(deadline, f"the event {name}").event is None:
                    raise self._fail(_broken("QEMU answered a command that was not given"))

    def close(self) -> None:
        """Release the socket; closing twice is harmless."""
        with self._lock:
            if self._socket is not None:
                self._socket.close()
                self._socket = None

    def _greet(self, deadline: float) -> None:
        try:
            message = self._receive(deadline, "the greeting")
        except SourceUnavailable as error:
            if error.code != "qmp-timeout":
                raise
            raise SourceConflict(
                f"The QMP socket {self._path} is busy",
                code="qmp-busy",
                why="QEMU accepted the connection but sent no greeting; it serves one client at a time",
                hint="Close the other client (another backup, libvirt, qmp-shell), or give QEMU a second -qmp socket.",
            ) from None
        if message.greeting is None:
            raise self._fail(_broken("the peer does not speak QMP", f"no greeting on {self._path}"))

    def _execute(self, command: str, arguments: Json | None) -> msgspec.Raw:
        with self._lock:
            self._next_id += 1
            line = {"execute": command, "id": self._next_id} | ({"arguments": arguments} if arguments else {})
            self._send(msgspec.json.encode(line) + b"\n")
            deadline = time.monotonic() + self._command_seconds
            while (message := self._receive(deadline, command)).event is not None or message.is_before(self._next_id):
                pass
        if message.error is not None:
            raise refusal(command, message.error.klass, message.error.desc)
        if message.id != self._next_id or message.answer is msgspec.UNSET:
            raise self._fail(_broken("QEMU answered another command than the one given", command))
        return message.answer

    def _send(self, line: bytes) -> None:
        try:
            self._open_socket().sendall(line)
        except OSError as error:
            raise self._fail(_lost(error.strerror or "")) from None

    def _receive(self, deadline: float, awaited: str) -> _Message:
        """Return the next message; an event is also queued."""
        while (end := self._received.find(b"\n")) < 0:
            if len(self._received) > MAX_LINE_BYTES:
                raise self._fail(_broken("a line is longer than we accept", f"{MAX_LINE_BYTES} bytes"))
            self._received += self._receive_some(deadline, awaited)
        line = bytes(self._received[:end])
        del self._received[: end + 1]
        try:
            message = msgspec.json.decode(line, type=_Message)
        except msgspec.MsgspecError as error:
            raise self._fail(_broken("a line is no QMP message", str(error))) from None
        if message.event is not None:
            self._events.append((message.event, message.data))
        return message

    def _receive_some(self, deadline: float, awaited: str) -> bytes:
        try:
            connection = self._open_socket()
            connection.settimeout(max(deadline - time.monotonic(), 0.001))
            received = connection.recv(_RECEIVE_BYTES)
        except TimeoutError:
            raise self._fail(
                SourceUnavailable("QEMU does not answer", code="qmp-timeout", why=f"no answer in time to {awaited}")
            ) from None
        except OSError as error:
            raise self._fail(_lost(error.strerror or "")) from None
        if not received:
            raise self._fail(_lost("QEMU closed it: it ended, or was restarted"))
        return received

    def _open_socket(self) -> socket.socket:
        if self._socket is None:
            raise _lost("it was closed earlier")
        return self._socket

    def _fail(self, error: AdapterError) -> AdapterError:
        self.close()
        return error


def _connect(path: Path, seconds: float) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(seconds)
    try:
        connection.connect(str(path))
    except OSError as error:
        connection.close()
        if isinstance(error, PermissionError):
            raise SourceDenied(
                f"The QMP socket {path} refuses us",
                code="qmp-denied",
                why=error.strerror or "",
                hint="The worker needs read and write permission on the socket.",
            ) from None
        if isinstance(error, BlockingIOError | TimeoutError):
            raise SourceConflict(
                f"The QMP socket {path} is busy", code="qmp-busy", why="its queue of waiting clients is full"
            ) from None
        raise SourceUnavailable(
            f"No QEMU answers at {path}",
            code="qmp-unreachable",
            why=error.strerror or str(error),
            hint="Start QEMU with -qmp unix:PATH,server=on,wait=off and give that PATH.",
        ) from None
    return connection


def _lost(why: str) -> SourceUnavailable:
    return SourceUnavailable("The QMP connection was lost", code="qmp-lost", why=why)


def _broken(what: str, why: str = "") -> SourceInvalid:
    return SourceInvalid(f"QMP: {what}", code="qmp-protocol", why=why)

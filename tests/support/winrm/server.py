"""The HTTP server of the simulator: who asks, what is sealed, and which answer is given or withheld.

Every connection has a thread; TLS is shaken hands there too, so that a silent client harms nobody.
"""

from __future__ import annotations

import socket
import ssl
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Lock
from typing import Any

from tests.support.winrm import wsman
from tests.support.winrm.faults import CutAfter, CutBefore, Fault, Faults, Status, StaySilent
from tests.support.winrm.sealing import Peer

Serve = Callable[[wsman.Message], bytes]


class WsmanFault(Exception):
    """An operation ends with a fault of this code."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


class HungUp(Exception):
    """The connection is to be closed without an answer."""


class Server(ThreadingHTTPServer):
    """Listens on a loopback address; `context` is None for plain HTTP, `leaf` the certificate (DER) otherwise."""

    daemon_threads = False
    block_on_close = True
    request_queue_size = 128

    def __init__(self, address: str, serve: Serve, faults: Faults, port: int = 0) -> None:
        self.address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.serve = serve
        self.faults = faults
        self.context: ssl.SSLContext | None = None
        self.leaf: bytes | None = None
        self.schemes: tuple[str, ...] = ("Negotiate", "NTLM", "Basic", "CredSSP")
        self.closing = Event()
        self.lock = Lock()
        self.requests = 0
        self.accepted = 0
        self.logins = 0
        self.operations: Counter[str] = Counter()
        self.clear_bodies: list[bytes] = []
        """What came over plain HTTP without being sealed."""
        self.broken: list[BaseException] = []
        """Errors of the simulator itself, and requests that no WinRM would understand."""
        self._open: set[socket.socket] = set()
        super().__init__((address, port), Handler)

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Serve one connection, in its thread."""
        with suppress(OSError):  # a client that does not like our certificate, or goes away
            connection = request
            if self.context is not None:
                connection = self.context.wrap_socket(request, server_side=True, do_handshake_on_connect=False)
            with connection:
                with self.lock:
                    self._open.add(connection)
                    self.accepted += 1
                    if self.closing.is_set():
                        _cut(connection)
                try:
                    if self.context is not None:
                        connection.do_handshake()
                    super().finish_request(connection, client_address)
                finally:
                    with self.lock:
                        self._open.discard(connection)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Leave it to `broken`."""

    def drop_connections(self) -> None:
        """Cut every connection there is now."""
        with self.lock:
            for connection in self._open:
                _cut(connection)

    def close(self) -> None:
        """Cut every connection and end all threads, those included that wait for something."""
        self.closing.set()
        self.shutdown()
        self.drop_connections()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    """One connection's requests."""

    server: Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def setup(self) -> None:
        """Begin with a client that nobody knows."""
        super().setup()
        self.peer = Peer(self.server.leaf)
        self.asked = False
        self.final_token: str | None = None

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet."""

    def do_POST(self) -> None:
        """Answer one message."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        with self.server.lock:
            self.server.requests += 1
        try:
            if self.path != "/wsman":
                self._send(404, "text/html", b"no such place")
            elif self._admitted():
                self._serve(body)
        except HungUp:
            self.close_connection = True
        except OSError:
            self.close_connection = True
        except Exception as error:
            self.server.broken.append(error)
            raise

    def _admitted(self) -> bool:
        """Go a step on with the authentication; False when the answer to it was sent."""
        given = self.headers.get("Authorization")
        if given is not None and not self.asked:
            self.asked = True
            with self.server.lock:
                self.server.logins += 1
        if given is None and self.peer.known and self.peer.can_seal:
            return True
        try:
            challenge = self.peer.step(given) if given and not self.server.faults.denied else None
        except PermissionError:
            challenge = None
            self.peer.known = False
        if self.server.faults.denied:
            self.peer.known = False
        if self.peer.known:
            self.final_token = challenge
            return True
        offers = (challenge,) if challenge else self.server.schemes
        self._send(401, "text/plain", b"", headers=[("WWW-Authenticate", offer) for offer in offers])
        return False

    def _serve(self, body: bytes) -> None:
        """Answer a message of somebody who is known."""
        sealed = "multipart/encrypted" in self.headers.get("Content-Type", "")
        token, self.final_token = self.final_token, None
        headers = [("WWW-Authenticate", token)] if token else []
        if not body:
            self._send(200, "text/plain", b"", headers=headers)
            return
        if sealed:
            try:
                body = self.peer.unseal(body)
            except PermissionError:
                self._send(400, "text/plain", b"")
                return
        elif self.server.context is None:
            self.server.clear_bodies.append(body)
        message = wsman.parse(body)
        with self.server.lock:
            self.server.operations[message.operation] += 1
        status, answer = self._answer(message)
        if sealed and not self.server.faults.plain_answers:
            self._send(status, *self.peer.seal(answer), headers=headers)
        else:
            self._send(status, "application/soap+xml;charset=UTF-8", answer, headers=headers)

    def _answer(self, message: wsman.Message) -> tuple[int, bytes]:
        """Status and body of an answer. Raises HungUp where there is to be none."""
        action = self.server.faults.take(message.operation)
        match action:
            case Status(status, page, location):
                self._send(status, "text/html", page, headers=[("Location", location)] if location else [])
                raise HungUp
            case Fault(code):
                return 500, wsman.fault(message.id, code, f"The simulator was told to fail with {code}.")
            case CutBefore():
                raise HungUp
            case StaySilent():
                self.server.closing.wait()
                raise HungUp
        try:
            status, answer = 200, self.server.serve(message)
        except WsmanFault as fault:
            status, answer = 500, wsman.fault(message.id, fault.code, fault.text)
        if isinstance(action, CutAfter) or self.server.closing.is_set():
            raise HungUp
        return status, answer

    def _send(self, status: int, kind: str, body: bytes, *, headers: Any = ()) -> None:
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _cut(connection: socket.socket) -> None:
    with suppress(OSError):
        socket.socket.shutdown(connection, socket.SHUT_RDWR)  # TLS has no say in it

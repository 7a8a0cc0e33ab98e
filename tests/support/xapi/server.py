"""The HTTPS servers of the pool's hosts: XML-RPC at any place, JSON-RPC at /jsonrpc, and what others serve beside them.

Every connection has a thread; TLS is shaken hands there too, so that a silent client harms nobody.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import IO, Any
from urllib.parse import parse_qsl, urlsplit

from tests.support.xapi.api import Api, HungUp, Spoiled
from tests.support.xapi.faults import Garbage
from tests.support.xapi.published import XapiFailure
from tests.support.xapi.wire import JsonRpc, XmlRpc


class HttpRequest:
    """One GET or PUT of a file at a host (its reference); a handler reads `body` and answers with `send`."""

    def __init__(self, handler: _Handler, host: str) -> None:
        parts = urlsplit(handler.path)
        self._handler = handler
        self.host = host
        self.method = handler.command
        self.path = parts.path.rstrip("/")
        self.query = dict(parse_qsl(parts.query, keep_blank_values=True))
        self.headers: Mapping[str, str] = handler.headers
        self.body: IO[bytes] = handler.rfile

    def send(self, status: int, headers: Mapping[str, str], body: Iterable[bytes] = ()) -> None:
        """Answer; without a Content-Length the end of the connection ends the body. An error in `body` cuts it."""
        handler = self._handler
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("Connection", "close")
        handler.close_connection = True
        handler.end_headers()
        for piece in body:
            handler.wfile.write(piece)


HttpHandler = Callable[[HttpRequest], None]


class HostServer(ThreadingHTTPServer):
    """One host; `context` holds its certificate."""

    daemon_threads = False
    block_on_close = True
    request_queue_size = 128

    def __init__(
        self, address: str, port: int, context: ssl.SSLContext, api: Api, files: Mapping[str, HttpHandler]
    ) -> None:
        self.context = context
        self.api = api
        self.files = files
        self.host = ""
        self.broken: list[BaseException] = []
        """Errors of the simulator itself."""
        self.connections = 0
        """How many handshakes were begun."""
        self._open: set[ssl.SSLSocket] = set()
        self._lock = Lock()
        self._thread: Thread | None = None
        super().__init__((address, port), _Handler)

    def start(self) -> None:
        """Serve in a thread."""
        self._thread = Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, name=f"xapi-{self.host}")
        self._thread.start()

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Serve one connection, in its thread."""
        with suppress(OSError):  # a client that does not like our certificate, or goes away
            secured = self.context.wrap_socket(request, server_side=True, do_handshake_on_connect=False)
            with secured:
                with self._lock:
                    self._open.add(secured)
                    self.connections += 1
                try:
                    secured.do_handshake()
                    super().finish_request(secured, client_address)
                finally:
                    with self._lock:
                        self._open.discard(secured)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Leave it to `broken`."""

    def cut(self) -> None:
        """Break every connection."""
        with self._lock:
            for connection in self._open:
                with suppress(OSError):
                    socket.socket.shutdown(connection, socket.SHUT_RDWR)

    def stop(self) -> None:
        """Serve no more; the port is closed and every connection cut."""
        if self._thread is not None:
            self.shutdown()
            self._thread.join()
            self._thread = None
        self.cut()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: HostServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet."""

    def do_POST(self) -> None:
        """Answer a call."""
        wire = JsonRpc if urlsplit(self.path).path.rstrip("/") == "/jsonrpc" else XmlRpc
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            name, parameters, call = wire.read(body)
            try:
                answer = wire.success(self.server.api.answer(self.server.host, name, parameters), call)
            except XapiFailure as failure:
                answer = wire.failure(failure, call)
            self._send(200, wire.content_type, answer)
        except HungUp:
            self.close_connection = True
        except Spoiled as spoiled:
            self._send_spoiled(spoiled, wire.success(spoiled.value, call), wire.content_type)
        except OSError:
            self.close_connection = True
        except Exception as error:
            self.server.broken.append(error)
            raise

    def do_GET(self) -> None:
        self._serve_file()

    def do_PUT(self) -> None:
        self._serve_file()

    def _serve_file(self) -> None:
        request = HttpRequest(self, self.server.host)
        handler = self.server.files.get(request.path)
        try:
            if handler is None:
                request.send(404, {"Content-Length": "0"})
            else:
                handler(request)
        except (OSError, HungUp):
            self.close_connection = True
        except Exception as error:
            self.close_connection = True
            self.server.broken.append(error)
            raise

    def _send_spoiled(self, spoiled: Spoiled, answer: bytes, kind: str) -> None:
        self.close_connection = True
        if isinstance(spoiled.how, Garbage):
            self._send(spoiled.how.status, kind, spoiled.how.body)
        else:
            self._send(200, kind, answer, len(answer) // 2)

    def _send(self, status: int, kind: str, body: bytes, sent_bytes: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:sent_bytes])

"""A simulator of a server's `/folder` (and of NFC downloads): HTTPS, ranges, a session cookie, and faults on request.

It proves our side only; the same reads run against a third party's server where it is installed.
"""

from __future__ import annotations

import re
import socket
import ssl
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Lock, Thread
from types import TracebackType
from typing import Any, Self

from adapters.vmware.transport.ranges import HttpsServer
from tests.support.certificates import Authority

PIECE = 4096


class FolderServer(ThreadingHTTPServer):
    """Serves `files` (request target to content). Each entry of `faults` spoils one request, in order.

    `silent` waits until the end of the test, `trickle` sends a byte at a time; the others say what they do. `accepted`
    counts all connections, `most` is how many were open at once.
    """

    daemon_threads = True

    def __init__(self, folder: Path, names: tuple[str, ...] = ("localhost",)) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.authority = Authority(folder)
        certificate = self.authority.issue("server", names)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate, folder / "server-key.pem")
        self.files: dict[str, bytes] = {}
        self.faults: deque[str] = deque()
        self.cookie = "the-session"
        self.requests: list[tuple[str, str | None]] = []
        self.accepted = 0
        self.most = 0
        self._open = 0
        self._counting = Lock()
        self.over = Event()
        self._thread = Thread(target=self.serve_forever, args=(0.02,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.over.set()
        self.shutdown()
        self._thread.join()
        self.server_close()

    @property
    def port(self) -> int:
        """Where it listens, on loopback."""
        return int(self.server_address[1])

    def trust(self) -> ssl.SSLContext:
        """Trust exactly this server's authority."""
        return ssl.create_default_context(cafile=str(self.authority.ca_file))

    def server(self, trust: ssl.SSLContext | None = None) -> HttpsServer:
        """Return what a reader is told."""
        return HttpsServer("localhost", self.port, trust or self.trust(), lambda: self.cookie)

    def get_request(self) -> tuple[socket.socket, Any]:
        """Count the connection; TLS begins in its own thread."""
        sock, address = super().get_request()
        with self._counting:
            self.accepted += 1
            self._open += 1
            self.most = max(self.most, self._open)
        return self._context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False), address

    def shutdown_request(self, request: Any) -> None:
        """Count the connection no more, then close it."""
        with self._counting:
            self._open -= 1
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients that go away are part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: FolderServer

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        server = self.server
        server.requests.append((self.path, self.headers.get("Range")))
        fault = server.faults.popleft() if server.faults else ""
        if fault == "silent":
            server.over.wait(60)
        if fault in {"silent", "reset"}:
            self.close_connection = True
        elif fault.isdigit():
            self._answer(int(fault), {}, b"no")
        elif fault.startswith("closing-"):
            self._answer(int(fault.removeprefix("closing-")), {}, b"no" * 65_536, "no-length")
        elif self.headers.get("Cookie") != f"vmware_soap_session={server.cookie}":
            self._answer(401, {}, b"who are you?")
        elif self.path not in server.files:
            self._answer(404, {}, b"no such file")
        else:
            self._serve(server.files[self.path], fault)

    def _serve(self, content: bytes, fault: str) -> None:
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if asked is None or fault == "ignore-range":
            self._answer(200, {}, content, fault)
            return
        first, last = int(asked[1]), min(int(asked[2]), len(content) - 1)
        if first >= len(content):
            self._answer(416, {"Content-Range": f"bytes */{len(content)}"}, b"")
            return
        if fault == "shifted":
            first, last = first + 1, last + 1
        total = "*" if fault == "no-total" else str(len(content) + (512 if fault == "grown" else 0))
        headers = {"Content-Range": f"bytes {first}-{last}/{total}"}
        if fault == "no-content-range":
            headers = {}
        if fault == "encoded":
            headers["Content-Encoding"] = "gzip"
        self._answer(206, headers, content[first : last + 1], fault)

    def _answer(self, status: int, headers: dict[str, str], body: bytes, fault: str = "") -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if fault == "chunked":
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for at in range(0, len(body), PIECE):
                piece = body[at : at + PIECE]
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            self.wfile.write(b"0\r\n\r\n")
            return
        if fault != "no-length":
            self.send_header("Content-Length", str(len(body) - (1 if fault == "length" else 0)))
        self.end_headers()
        if fault == "trickle":
            for at in range(len(body)):
                if self.server.over.wait(0.02):
                    break
                self.wfile.write(body[at : at + 1])
            return
        self.wfile.write(body[: len(body) // 2] if fault in {"short", "cut"} else body)
        if fault in {"short", "cut", "no-length"}:
            self.close_connection = True

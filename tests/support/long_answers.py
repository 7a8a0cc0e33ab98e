"""A server whose answers have no end, and what becomes of them.

An answer that the server would end by hanging up holds the socket for itself: closing the connection does not close it.
"""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from unittest.mock import patch

from tests.support.certificates import Authority

PIECE = b"x" * 65536


@dataclass
class LongAnswers:
    """Where it listens (`localhost`), and the answers that this process got of it; held, so that none closes itself."""

    port: int
    ca_file: Path
    answers: list[http.client.HTTPResponse] = field(default_factory=list)

    def trust(self) -> ssl.SSLContext:
        """A context that trusts its certificate."""
        return ssl.create_default_context(cafile=self.ca_file)

    def all_closed(self) -> bool:
        """Whether there was an answer, and none is open."""
        return bool(self.answers) and all(answer.isclosed() for answer in self.answers)


@contextmanager
def long_answers(folder: Path, status: int = 200) -> Iterator[LongAnswers]:
    """Answer every request with `status` and bytes until the client hangs up."""
    authority = Authority(folder)
    certificate = authority.issue("server", ["localhost"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_name("server-key.pem"))

    class Handler(_Handler):
        answer_status = status

    server = ThreadingHTTPServer(("localhost", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    found = LongAnswers(server.server_port, authority.ca_file)

    class Recorded(http.client.HTTPResponse):
        def begin(self) -> None:
            found.answers.append(self)
            super().begin()

    thread = Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        with patch.object(http.client.HTTPConnection, "response_class", Recorded):
            yield found
    finally:
        for answer in found.answers:
            answer.close()  # or the server would write for ever to a test that fails
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    answer_status: int

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.close_connection = True
        with suppress(OSError):
            self.send_response(self.answer_status)
            self.send_header("Connection", "close")
            self.end_headers()
            while True:
                self.wfile.write(PIECE)

    do_GET = do_POST = do_PUT = _answer

    def finish(self) -> None:
        """Let go of a client that is gone."""
        with suppress(OSError):
            super().finish()

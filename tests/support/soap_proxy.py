"""An HTTPS proxy in front of a vSphere server that loses replies, answers faults and rewrites answers on demand.

A simulator of failures: what it passes on is the real server's.
"""

from __future__ import annotations

import http.client
import re
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

_METHOD = re.compile(rb"<(?:soapenv|soap):Body>\s*<(\w+)", re.IGNORECASE)
_FAULT = """<?xml version="1.0" encoding="UTF-8"?>
<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"><soapenv:Body><soapenv:Fault>
<faultcode>ServerFaultCode</faultcode><faultstring>{text}</faultstring><detail>
<{name}Fault xmlns="urn:vim25" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="{name}"/>
</detail></soapenv:Fault></soapenv:Body></soapenv:Envelope>"""


@dataclass
class Rules:
    """What happens to calls, by the method's name on the wire; a count of None means always.

    `refuse`: answered with this status and much text, ended by hanging up, unheard by the server.
    `faults`: answered with this fault, unheard by the server. `lost`: heard, the reply is not sent. `silent`: neither.
    `rewrite`: the answer, changed. `slow`: wait for the event, then pass on. `seen` lists all calls.
    """

    refuse: dict[str, int] = field(default_factory=dict)
    faults: dict[str, list[str]] = field(default_factory=dict)
    lost: dict[str, int] = field(default_factory=dict)
    silent: set[str] = field(default_factory=set)
    rewrite: dict[str, Callable[[bytes], bytes]] = field(default_factory=dict)
    seen: list[str] = field(default_factory=list)
    files: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class SoapProxy:
    """A running proxy."""

    host: str
    port: int
    rules: Rules
    over: threading.Event


@contextmanager
def soap_proxy(target_port: int, certificate: Path) -> Iterator[SoapProxy]:
    """Serve on loopback with `certificate` (its key lies beside it) and pass on to `target_port`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_name(certificate.name.replace("-cert", "-key")))
    rules, over = Rules(), threading.Event()

    class Handler(_Handler):
        pass

    Handler.target_port, Handler.rules, Handler.over = target_port, rules, over
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.block_on_close = False
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield SoapProxy("localhost", server.server_address[1], rules, over)
    finally:
        over.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    target_port: int
    rules: Rules
    over: threading.Event

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        found = _METHOD.search(body)
        name = found[1].decode() if found else ""
        self.rules.seen.append(name)
        if name in self.rules.silent:
            self.over.wait(30)
            self.close_connection = True
        elif name in self.rules.refuse:
            self.send_response(self.rules.refuse[name])
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(b"no" * 65_536)
        elif self.rules.faults.get(name):
            self._answer(500, _fault(self.rules.faults[name].pop(0)), {"Content-Type": "text/xml"})
        else:
            self._pass_on(name, body)

    def do_GET(self) -> None:
        if (status := self.rules.files.get(self.path.partition("?")[0])) is not None:
            self._answer(status, b"", {})
        else:
            self._pass_on("", None)

    def do_PUT(self) -> None:
        self._pass_on("", self.rfile.read(int(self.headers["Content-Length"])))

    def _pass_on(self, name: str, body: bytes | None) -> None:
        trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
        connection = http.client.HTTPSConnection("127.0.0.1", self.target_port, context=trusting, timeout=60)
        headers = {key: value for key, value in self.headers.items() if key.lower() != "accept-encoding"}
        with closing(connection):
            connection.request(self.command, self.path, body, headers)
            with connection.getresponse() as response:
                answer = response.read()
        if self.rules.lost.get(name):
            self.rules.lost[name] -= 1
            self.close_connection = True
            return
        if name in self.rules.rewrite:
            answer = self.rules.rewrite[name](answer)
        kept = {"content-type", "set-cookie", "content-range"}
        self._answer(response.status, answer, {k: v for k, v in response.getheaders() if k.lower() in kept})

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _fault(name: str) -> bytes:
    return _FAULT.format(name=name, text=f"{name} on demand").encode()

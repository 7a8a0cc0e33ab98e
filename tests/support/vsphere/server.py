"""The HTTPS server of the simulator: SOAP calls to /sdk, and files.

Every connection has a thread; TLS is shaken hands there too, so that a silent client harms nobody. The certificate
may be changed while the server runs: new connections see the new one.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from http import HTTPStatus
from http.cookies import SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event
from typing import Any
from urllib.parse import urlsplit

from pyVmomi import vmodl
from pyVmomi.VmomiSupport import ManagedObject

from tests.support.vsphere import soap
from tests.support.vsphere.busy import BusyClock
from tests.support.vsphere.collector import PropertyCollector
from tests.support.vsphere.connections import Connections
from tests.support.vsphere.faults import ExpireSessions, LoseReply, StaySilent
from tests.support.vsphere.folder import Refused, get_datastore_file, get_lease_file, put_datastore_file
from tests.support.vsphere.managed import Call, Managed, World
from tests.support.vsphere.properties import Collector, read
from tests.support.vsphere.service import API_VERSION
from tests.support.vsphere.sessions import OPEN_CALLS, Session, Sessions

COOKIE = "vmware_soap_session"
_VERSIONS = f"""<?xml version="1.0" encoding="UTF-8" ?>
<namespaces version="1.0"><namespace><name>urn:vim25</name><version>{API_VERSION}</version>
<priorVersions><version>7.0.0.0</version><version>6.7</version><version>6.5</version></priorVersions>
</namespace></namespaces>
""".encode()


class HungUp(Exception):
    """The connection is to be closed without an answer."""


class Server(ThreadingHTTPServer):
    """Listens on loopback; `context` holds the certificate."""

    daemon_threads = False
    block_on_close = True
    request_queue_size = 128

    def __init__(self, world: World, sessions: Sessions, context: ssl.SSLContext) -> None:
        self.world = world
        self.sessions = sessions
        self.context = context
        self.connections = Connections()
        self.busy = BusyClock()
        self.closing = Event()
        self.broken: list[BaseException] = []
        """Errors of the simulator itself."""
        super().__init__(("127.0.0.1", 0), Handler)

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Serve one connection, in its thread."""
        with suppress(OSError):  # a client that does not like our certificate, or goes away
            secured = self.context.wrap_socket(request, server_side=True, do_handshake_on_connect=False)
            with secured:
                self.connections.opened(secured)
                try:
                    secured.do_handshake()
                    super().finish_request(secured, client_address)
                finally:
                    self.connections.closed(secured)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Leave it to `broken`."""

    def close(self) -> None:
        """Cut every connection and end all threads, those included that wait for something."""
        self.closing.set()
        self.sessions.expire()
        self.world.touch()
        self.shutdown()
        self.connections.break_all()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    """One connection's requests."""

    server: Server
    connection: ssl.SSLSocket
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    call_name = ""
    session: Session
    _new_cookie: str | None = None

    @property
    def world(self) -> World:
        """Everything there is."""
        return self.server.world

    def carries(self, host: str) -> None:
        """Say that this connection carries data of a host's machines."""
        self.server.connections.carries(self.connection, host)

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet."""

    def parse_request(self) -> bool:
        """Work from the first line of a request on."""
        self._work.enter_context(self.server.busy.working())
        return super().parse_request()

    def handle_one_request(self) -> None:
        """Wait for a request and answer it."""
        with ExitStack() as self._work:
            super().handle_one_request()

    def do_GET(self) -> None:
        self._serve_file({"/folder/": lambda: get_datastore_file(self, head=False), "/nfc/": self._get_lease})

    def do_HEAD(self) -> None:
        self._serve_file({"/folder/": lambda: get_datastore_file(self, head=True)})

    def do_PUT(self) -> None:
        self._serve_file({"/folder/": lambda: put_datastore_file(self)})

    def do_POST(self) -> None:
        """Answer a SOAP call."""
        body = b"".join(self.body())
        self.session = self.server.sessions.of(self._cookie())
        version = soap.version_of(self.headers.get("SOAPAction"))
        try:
            status, answer = HTTPStatus.OK, self._call(body, version)
        except vmodl.MethodFault as fault:
            status, answer = HTTPStatus.INTERNAL_SERVER_ERROR, soap.fault_answer(fault, version)
        except HungUp:
            self.close_connection = True
            return
        except Exception as error:
            self.server.broken.append(error)
            raise
        self.send_response(status)
        self.send_header("Content-Type", "text/xml; charset=utf-8")
        self.send_header("Content-Length", str(len(answer)))
        if self.session.user and self._cookie() != self.session.cookie and not self.session.ended:
            self.send_header("Set-Cookie", f'{COOKIE}="{self.session.cookie}"; Path=/; HttpOnly; Secure')
        self.end_headers()
        self.wfile.write(answer)

    def body(self) -> Iterator[bytes]:
        """The request's body in pieces, whole or chunked."""
        if self.headers.get("Expect", "").lower() == "100-continue":
            self.send_response_only(HTTPStatus.CONTINUE)
            self.end_headers()
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            while length := int(self.rfile.readline().split(b";")[0], 16):
                yield self.rfile.read(length)
                self.rfile.readline()
            self.rfile.readline()
            return
        left = int(self.headers.get("Content-Length") or 0)
        while left:
            piece = self.rfile.read(min(left, 1 << 20))
            if not piece:
                raise ConnectionError("The client went away")
            left -= len(piece)
            yield piece

    # --- SOAP ---

    def _call(self, body: bytes, version: str) -> bytes:
        """Do one call and write its answer. Raises its fault, or HungUp."""
        request = soap.parse(body, version)
        call = Call(request.name, self.session, request.arguments)
        with self.world.lock:
            self._hinder(request.name)
            if request.name not in OPEN_CALLS and not _reads_content(request):
                self.session.check()
            self.session.calls += 1
            assert request.this is not None
            answer = _answer(self._target(request.this), call, version)
        if self.world.faults.take(request.name, LoseReply):
            raise HungUp
        if self.server.closing.is_set():
            raise HungUp
        return answer

    def _hinder(self, name: str) -> None:
        """Do what the knobs say before a call is looked at. The lock is given up while we keep silent."""
        action = self.world.faults.take(name, vmodl.MethodFault, StaySilent, ExpireSessions)
        if isinstance(action, vmodl.MethodFault):
            raise action
        if isinstance(action, ExpireSessions):
            self.server.sessions.expire()
        if isinstance(action, StaySilent):
            self.world.changed.wait_for(self.server.closing.is_set)
            raise HungUp

    def _target(self, ref: ManagedObject) -> Managed:
        """The object that a call is for; the default collector is each session's own."""
        if ref._moId == PROPERTY_COLLECTOR and isinstance(ref, Collector):
            return self.session.collector_of(lambda: PropertyCollector(self.world, PROPERTY_COLLECTOR))
        return self.world.find(ref)

    # --- files ---

    def _serve_file(self, places: dict[str, Callable[[], None]]) -> None:
        path = urlsplit(self.path).path
        if self.command == "GET" and path in ("/sdk/vimServiceVersions.xml", "/sdk/vimService.wsdl"):
            self._send_plain(HTTPStatus.OK, _VERSIONS)
            return
        place = next((place for place in places if path.startswith(place)), None)
        self.call_name = f"{self.command} {(place or '').rstrip('/')}"
        try:
            if place is None:
                raise Refused(HTTPStatus.NOT_FOUND)
            with self.world.lock:
                self._hinder(self.call_name)
                if place == "/folder/" and self.server.sessions.of(self._cookie()).user is None:
                    raise Refused(HTTPStatus.UNAUTHORIZED)
            places[place]()
        except Refused as refusal:
            for _ in self.body():
                pass  # a client that is still sending would not see the answer
            self._send_plain(refusal.status, b"")
        except HungUp:
            self.close_connection = True
        except OSError:
            self.close_connection = True
        except Exception as error:
            self.server.broken.append(error)
            raise

    def _get_lease(self) -> None:
        get_lease_file(self, head=False)

    def _send_plain(self, status: HTTPStatus, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "text/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _cookie(self) -> str | None:
        cookies: SimpleCookie = SimpleCookie(self.headers.get("Cookie", ""))
        found = cookies.get(COOKIE)
        return found.value if found else None


PROPERTY_COLLECTOR = "propertyCollector"


def _reads_content(request: soap.Request) -> bool:
    """Whether a call reads `content` of the ServiceInstance, which pyvmomi does before the login."""
    return request.name == soap.FETCH and request.arguments.get("prop") == "content"


def _answer(target: Managed, call: Call, version: str) -> bytes:
    """Do a call and write its answer in one go, so that nobody changes what is told."""
    if call.name == soap.FETCH:
        name = str(call["prop"])
        value = read(target, name, call.session)
        return soap.answer(call.name, value, target.kind._GetPropertyInfo(name).type, version)
    value = target.invoke(call)
    return soap.answer(call.name, value, soap.result_type(call.name), version)

"""One request to a pool's HTTP handlers, whose body or answer is a disk. Imports `adapters` and this package only.

A status of 200 says that the handler began, and no more: xapi sends it before the first byte of a disk in either
direction. The session's id travels as a cookie, so that no URL, and no redirection, holds it; and only to hosts of the
pool, behind certificates that the settings trust.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
from collections.abc import Mapping
from types import TracebackType
from typing import Self
from urllib.parse import urlencode, urlsplit

from adapters.errors import AdapterError, SourceDenied, SourceInvalid, SourceUnavailable
from adapters.xen.transport.access import VdiAccess
from adapters.xen.trust import tls_error

LOST, REFUSED = "transfer-lost", "transfer-refused"
_MOST_REDIRECTIONS = 3


class Exchange:
    """A connection with its one request sent, and the head of the answer received: `response`, to be read.

    `timeout_seconds` bounds each silence. What the connection meets raises AdapterErrors, in `read` and `send`, too.
    """

    response: http.client.HTTPResponse

    def __init__(
        self,
        access: VdiAccess,
        method: str,
        path: str,
        query: Mapping[str, str],
        *,
        length: int | None = None,
        timeout_seconds: float = 120.0,
    ) -> None:
        self._label = access.label
        self._access = access
        self._timeout = timeout_seconds
        self._sock: ssl.SSLSocket | None = None
        host, port, target = access.host, access.port, f"{path}?{urlencode(query)}"
        for _ in range(_MOST_REDIRECTIONS + 1):
            self._ask(host, port, method, target, length)
            if self.response.status not in (301, 302, 303, 307, 308):
                break
            host, port, target = self._sent_on(target)
        if self.response.status != 200:
            self.close()
            raise _refusal(self._label, host, self.response.status)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def read(self, length: int) -> bytes:
        """Return up to `length` bytes; none at the end of the stream, which may be a cut."""
        try:
            return self.response.read(length)
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise self._lost(error) from None

    def send(self, data: bytes | memoryview) -> None:
        """Send all of `data`."""
        if self._sock is None:
            raise self._lost(ConnectionError())
        try:
            self._sock.sendall(data)
        except OSError as error:
            raise self._lost(error) from None

    def shutdown(self) -> None:
        """Wake whoever reads or sends; for other threads."""
        if self._sock is not None:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(self._sock, socket.SHUT_RDWR)

    def close(self) -> None:
        """Hang up; twice is harmless."""
        if hasattr(self, "response"):
            self.response.close()
        if self._sock is not None:
            self._sock.close()

    def _ask(self, host: str, port: int, method: str, target: str, length: int | None) -> None:
        self.close()
        body = [] if length is None else [f"Content-Length: {length}"]
        name = f"[{host}]" if ":" in host else host
        cookie = f"Cookie: session_id={self._access.pool.session_id().reveal()}"
        lines = [f"{method} {target} HTTP/1.1", f"Host: {name}:{port}", cookie, *body, "Connection: close", "", ""]
        try:
            self._sock = self._connect(host, port)
            self._sock.sendall("\r\n".join(lines).encode())
            self.response = http.client.HTTPResponse(self._sock, method=method)
            self.response.begin()
        except ssl.SSLError as error:
            self.close()
            raise tls_error(error, f"{name}:{port}") from None
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise self._lost(error) from None
        except BaseException:
            self.close()
            raise

    def _connect(self, host: str, port: int) -> ssl.SSLSocket:
        plain = socket.create_connection((host, port), self._timeout)
        try:
            return self._access.pool.ssl_context.wrap_socket(plain, server_hostname=host)
        except BaseException:
            plain.close()
            raise

    def _sent_on(self, target: str) -> tuple[str, int, str]:
        """Where a host sends us that does not see the disk. Raises SourceDenied when that is no host of the pool."""
        found = urlsplit(self.response.headers.get("Location", ""))
        self.close()
        try:
            host, port = found.hostname or "", found.port or self._access.port
        except ValueError:
            host, port = "", 0
        if found.scheme != "https" or host not in self._access.hosts:
            raise SourceDenied(
                f"{self._label} is not fetched from where the pool sends us",
                code="redirected-elsewhere",
                why=f"{found.scheme}://{host[:100]} is not https at a host of the pool",
            )
        wanted = urlsplit(target)
        return host, port, f"{wanted.path}?{wanted.query}"  # ours, whatever the host made of it

    def _lost(self, error: Exception) -> AdapterError:
        what = f"The transfer of {self._label} was cut"
        if isinstance(error, TimeoutError):
            return SourceUnavailable(what, code="transfer-silent", why="the host fell silent")
        return SourceUnavailable(what, code=LOST, why=type(error).__name__)


def _refusal(label: str, host: str, status: int) -> AdapterError:
    kind = SourceDenied if status in (401, 403) else SourceInvalid if status in (400, 404) else SourceUnavailable
    return kind(f"{host} refuses the transfer of {label}", code=REFUSED, why=f"HTTP status {status}")

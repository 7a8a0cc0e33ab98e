"""Byte ranges of one file on an HTTPS server, over kept-alive connections. Safe to use from several threads.

Imports `adapters.errors`, `adapters.trust` and this package only. A range is delivered whole and exactly as
asked for, or an AdapterError is raised: an answer of 200, of another range or of fewer bytes is never taken for it.
"""

from __future__ import annotations

import http.client
import re
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass

from adapters.errors import AdapterError, SourceCorrupt, SourceDenied, SourceInvalid, SourceNotFound, SourceUnavailable
from adapters.trust import CertificateChanged, tls_error
from adapters.vmware.transport.limits import HostConnections

TRIES = 4
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
_BUSY = frozenset({429, 500, 502, 503, 504})
_REFUSALS: dict[int, tuple[type[AdapterError], str, str, str]] = {
    200: (
        SourceInvalid,
        "range-ignored",
        "the server answers 200 with the whole file instead of 206 with a range, as a proxy does that drops the header",
        "Connect to the server without the proxy, or allow another transport.",
    ),
    403: (
        SourceDenied,
        "folder-denied",
        "the server does not allow it (status 403)",
        "Give the backup's role Datastore.Browse and Datastore.FileManagement on the datastore.",
    ),
    404: (SourceNotFound, "folder-missing", "the server has no such file (status 404)", ""),
    416: (SourceCorrupt, "disk-too-small", "the file ends before the disk does", ""),
}


@dataclass(frozen=True, slots=True)
class HttpsServer:
    """A server and our standing there: `cookie` returns the session's cookie as it is now, `renew` logs in again."""

    host: str
    port: int
    trust: ssl.SSLContext
    cookie: Callable[[], str]
    renew: Callable[[], None] | None = None

    def headers(self) -> dict[str, str]:
        """What every request carries."""
        return {"Cookie": f"vmware_soap_session={self.cookie()}"}


class _Lost(Exception):
    """The connection or the answer broke; another try may help."""


class _Unauthorised(Exception):
    """The server does not know the session, which may have been replaced since."""


class RangedFile:
    """The file at `target` (path and query, quoted).

    `timeout_seconds` bounds connecting, the wait for an answer and, up to twice itself, the whole answer. A try that
    broke is repeated `TRIES` times in all, `sleep` (seconds) between them.
    """

    def __init__(
        self,
        server: HttpsServer,
        target: str,
        places: HostConnections,
        *,
        name: str,
        timeout_seconds: float = 60.0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._server = server
        self._target = target
        self._places = places
        self._name = name
        self._timeout = timeout_seconds
        self._sleep = sleep
        places.join(server.trust)

    def read_into(self, offset: int, buffer: memoryview) -> int | None:
        """Fill `buffer` from `offset`; return the file's whole size as the answer stated it, None when it did not.

        Raises SourceUnavailable when every try broke, SourceDenied, SourceNotFound, and SourceInvalid for an answer
        that is not the range.
        """
        why, renewed, tries = "", False, 0
        while tries < TRIES:
            if tries > 1:
                self._sleep(0.25 * 2**tries)
            try:
                return self._attempt(offset, buffer)
            except _Lost as lost:
                why, tries = str(lost), tries + 1
            except _Unauthorised:
                if renewed:
                    raise SourceDenied(
                        f"The server does not let us read {self._name}", code="session-ended", why="status 401"
                    ) from None
                renewed = True
                if self._server.renew is not None:
                    self._server.renew()
        raise SourceUnavailable(f"{self._name} could not be read", code="folder-lost", why=f"{why}, {tries} times")

    def close(self) -> None:
        """Close the connections that wait, unless other files of this server are read; once only."""
        self._places.part(self._server.trust)

    def _attempt(self, offset: int, buffer: memoryview) -> int | None:
        connection = self._places.take(self._server.trust)
        done = False
        try:
            connection = connection or self._dial()
            total = self._exchange(connection, offset, buffer)
            done = True
        except (OSError, http.client.HTTPException) as error:
            raise _translated(error, self._server.host) from None
        finally:
            if done and connection is not None:
                self._places.park(self._server.trust, connection)
            else:
                if connection is not None:
                    connection.close()
                self._places.leave()
        return total

    def _dial(self) -> http.client.HTTPSConnection:
        server = self._server
        connection = http.client.HTTPSConnection(server.host, server.port, timeout=self._timeout, context=server.trust)
        try:
            connection.connect()
        except BaseException:
            connection.close()
            raise
        return connection

    def _exchange(self, connection: http.client.HTTPSConnection, offset: int, buffer: memoryview) -> int | None:
        last = offset + len(buffer) - 1
        deadline = time.monotonic() + self._timeout
        connection.request("GET", self._target, headers={**self._server.headers(), "Range": f"bytes={offset}-{last}"})
        response = connection.getresponse()
        total = self._check(response, offset, last)
        _receive(response, buffer, deadline)
        if response.will_close:
            connection.close()  # it connects anew by itself when it is used again
        return total

    def _check(self, response: http.client.HTTPResponse, offset: int, last: int) -> int | None:
        """Accept the head of exactly the range's answer, and return the file's size from it."""
        if response.status != 206:
            raise _refusal(response.status, self._name)
        stated = _RANGE.fullmatch(response.getheader("Content-Range", ""))
        if stated is not None and stated[3] != "*" and int(stated[3]) <= last:
            raise _refusal(416, self._name)
        if stated is None or (int(stated[1]), int(stated[2])) != (offset, last):
            raise SourceInvalid(
                f"The server answers with another range of {self._name}",
                code="range-wrong",
                why=f"asked for bytes {offset}-{last}, got {response.getheader('Content-Range')!s:.80}",
            )
        if response.getheader("Content-Encoding", "identity") != "identity":
            raise SourceInvalid(f"The server encodes the bytes of {self._name}", code="range-encoded")
        if response.length is not None and response.length != last - offset + 1:
            raise SourceInvalid(
                f"The answer about {self._name} has another length than its range",
                code="range-length",
                why=f"{response.length} bytes for bytes {offset}-{last}",
            )
        return None if stated[3] == "*" else int(stated[3])


def _refusal(status: int, name: str) -> Exception:
    if status == 401:
        return _Unauthorised()
    if status in _BUSY:
        return _Lost(f"the server answers with status {status}")
    kind, code, why, hint = _REFUSALS.get(status, (SourceInvalid, "folder-status", f"status {status}", ""))
    return kind(f"{name} cannot be read", code=code, why=why, hint=hint)


def _receive(response: http.client.HTTPResponse, buffer: memoryview, deadline: float) -> None:
    """Fill `buffer` from the body, by one receive at a time, so that a trickle does not outlive the deadline."""
    receive = response.readinto if response.chunked else response.fp.readinto1
    while buffer:
        count = receive(buffer)
        if not count:
            raise _Lost("the answer ended early")
        buffer = buffer[count:]
        if buffer and time.monotonic() > deadline:
            raise _Lost("the answer did not come in time")
    if response.chunked and response.read(1):
        raise SourceInvalid("The server sends more than the range", code="range-length")
    response.close()


def _translated(error: OSError | http.client.HTTPException, host: str) -> Exception:
    """Tell what may be tried again from what may not."""
    if isinstance(error, ssl.SSLCertVerificationError | CertificateChanged):
        return tls_error(error, host)
    if isinstance(error, TimeoutError):
        return _Lost("the server did not answer in time")
    if isinstance(error, OSError):
        return _Lost(f"the connection was lost ({error.strerror or type(error).__name__})")
    return _Lost(f"the answer is no HTTP ({type(error).__name__})")

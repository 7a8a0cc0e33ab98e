"""The `export` transport: a snapshot's disk as one stream of compressed grains, decoded while it arrives.

Imports `adapters.errors`, `adapters.port`, `adapters.trust` and this package only. It reads whole disks only,
and cannot resume. The disk is spooled (`spool.py`), so that reads may come in any order; reads of what arrived
do not wait for the rest. Nothing is told as complete before the stream's last check.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import http.client
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from threading import Condition, Thread
from typing import Any

from adapters.errors import AdapterError, SourceDenied, SourceInvalid, SourceUnavailable
from adapters.hostlimit import DISK_TURN_SECONDS
from adapters.port import Extent
from adapters.trust import CertificateChanged, tls_error
from adapters.vmware.transport.access import DiskAccess
from adapters.vmware.transport.lease import DiskUrl, Lease
from adapters.vmware.transport.limits import connections_to
from adapters.vmware.transport.spool import Spool
from adapters.vmware.transport.streamoptimized import decode


class ExportReader:
    """One disk of an exported snapshot. `timeout_seconds` bounds each silence of the server."""

    transport = "export"

    def __init__(
        self,
        access: DiskAccess,
        *,
        timeout_seconds: float = 60.0,
        lease_options: Mapping[str, Any] | None = None,
        spool: Spool | None = None,
    ) -> None:
        if access.export_lease is None:
            raise SourceInvalid(f"{access.name} cannot be exported", code="export-impossible", why="there is no lease")
        self.size_bytes = access.size_bytes
        self._access = access
        self._timeout = timeout_seconds
        self._news = Condition()  # guards the four below
        self._extents: list[Extent] = []
        self._arrived = 0
        self._whole = False
        self._failed: AdapterError | None = None
        self._closed = False
        self._connection: http.client.HTTPSConnection | None = None
        self._spool = spool or Spool(access.runtime_dir, access.size_bytes)
        with ExitStack() as started:
            started.callback(self._spool.close)
            self._lease = Lease(access.export_lease, self._percent, **(lease_options or {}))
            started.callback(self._lease.end, complete=False)
            self._url = self._lease.disk(access.host, access.export_key)
            self._places = connections_to(access.place, access.port)
            self._places.take(None, DISK_TURN_SECONDS)
            started.pop_all()
        self._thread = Thread(target=self._download, name="nfc-export", daemon=True)
        self._thread.start()

    def extents(self) -> Iterator[Extent]:
        """Yield the disk in order, gapless, as it arrives; absent grains are zeros. Ends only when all was checked."""
        told = 0
        while True:
            with self._news:
                while not (self._failed or self._whole or told < len(self._extents)):
                    self._news.wait()
                if self._failed:
                    raise again(self._failed)
                news = self._extents[told:]
                if not news:
                    return
            told += len(news)
            yield from news

    def pread_into(self, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` from `offset`, once that has arrived. Raises SourceInvalid past the end, SourceCorrupt."""
        if offset < 0 or offset + len(buffer) > self.size_bytes:
            raise SourceInvalid(
                f"A read of {len(buffer)} bytes at {offset} is outside the disk",
                code="read-past-end",
                why=f"it has {self.size_bytes} bytes",
            )
        with self._news:
            while not self._failed and self._arrived < offset + len(buffer):
                self._news.wait()
            if self._failed:
                raise again(self._failed)
            if self._closed:
                raise SourceUnavailable("The reader was closed", code="reader-closed")
        self._spool.read_into(offset, buffer)

    def close(self) -> None:
        """End the download and the lease, and give the space back; twice is harmless. No read may be under way."""
        with self._news:
            if self._closed:
                return
            self._closed = True
            self._fail(SourceUnavailable("The reader was closed", code="reader-closed"))
            connection = self._connection
        if connection is not None and connection.sock is not None:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(connection.sock, socket.SHUT_RDWR)
        self._thread.join()
        self._spool.close()

    def _percent(self) -> int:
        return self._arrived * 100 // max(self.size_bytes, 1)

    def _download(self) -> None:
        try:
            with contextlib.closing(self._connect()) as connection, self._get(connection) as response:
                for extent in decode(response.read, self._spool.write, self.size_bytes):
                    self._told(extent)
            self._lease.end(complete=True)
            with self._news:
                self._whole = True
                self._news.notify_all()
        except AdapterError as error:
            self._fail(error)
        except (OSError, http.client.HTTPException) as error:
            self._fail(_lost(self._access.name, self._url.host, error))
        finally:
            self._places.leave()
            self._lease.end(complete=False)

    def _connect(self) -> http.client.HTTPSConnection:
        url, context = self._url, self._access.ssl_context
        if url.thumbprint and url.host != self._access.host:
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        connection = http.client.HTTPSConnection(url.host, url.port, timeout=self._timeout, context=context)
        connection.connect()
        if context is not self._access.ssl_context:
            _check_pin(connection, url)
        with self._news:
            self._connection = connection
            if self._failed is not None:  # closed meanwhile
                connection.close()
                raise again(self._failed)
        return connection

    def _get(self, connection: http.client.HTTPSConnection) -> http.client.HTTPResponse:
        connection.request("GET", self._url.target, headers={"Cookie": f"vmware_soap_session={self._access.cookie()}"})
        response = connection.getresponse()
        if response.status != 200:
            response.close()
            raise SourceUnavailable(
                f"{self._access.name} is not sent", code="export-status", why=f"status {response.status}"
            )
        return response

    def _told(self, extent: Extent) -> None:
        with self._news:
            if broken := self._failed or self._lease.broken:
                raise again(broken)
            self._extents.append(extent)
            self._arrived = extent.end
            self._news.notify_all()

    def _fail(self, error: AdapterError) -> None:
        with self._news:
            self._failed = self._failed or error
            self._news.notify_all()


def again(error: AdapterError) -> AdapterError:
    """Copy an error, so that each thread raises its own."""
    return type(error)(error.what, code=error.code, why=error.why, hint=error.hint)


def _check_pin(connection: http.client.HTTPSConnection, url: DiskUrl) -> None:
    """Compare the host's certificate with what the server we trust says it is."""
    sock = connection.sock
    certificate = sock.getpeercert(binary_form=True) if isinstance(sock, ssl.SSLSocket) else None
    found = hashlib.sha1(certificate or b"", usedforsecurity=False).hexdigest().upper()
    if not hmac.compare_digest(found, url.thumbprint.replace(":", "").upper()):
        connection.close()
        raise SourceDenied(
            f"The host {url.host} shows another certificate than its server says", code="certificate-untrusted"
        )


def _lost(name: str, host: str, error: Exception) -> AdapterError:
    if isinstance(error, ssl.SSLCertVerificationError | CertificateChanged):
        return tls_error(error, host)
    why = "the server fell silent" if isinstance(error, TimeoutError) else type(error).__name__
    return SourceUnavailable(f"The export of {name} was cut", code="export-lost", why=why)

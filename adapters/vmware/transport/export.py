"""The `export` transport: a snapshot's disk as one stream of compressed grains, decoded while it arrives.

Imports `adapters.arriving`, `adapters.errors`, `adapters.port`, `adapters.spool`, `adapters.vmware.trust` and this
package only. It reads whole disks only, and cannot resume. The disk is spooled, so that reads may come in any order.
Nothing is told as complete before the stream's last check.
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
from threading import Lock, Thread
from typing import Any

from adapters.arriving import ArrivingDisk
from adapters.errors import AdapterError, SourceDenied, SourceInvalid, SourceUnavailable
from adapters.hostlimit import DISK_TURN_SECONDS
from adapters.port import Extent
from adapters.spool import Spool
from adapters.vmware.transport.access import DiskAccess
from adapters.vmware.transport.lease import DiskUrl, Lease
from adapters.vmware.transport.limits import connections_to
from adapters.vmware.transport.streamoptimized import decode
from adapters.vmware.trust import CertificateChanged, tls_error


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
        self._lock = Lock()  # guards the connection
        self._connection: http.client.HTTPSConnection | None = None
        self._disk = ArrivingDisk(access.size_bytes, spool or Spool(access.runtime_dir, access.size_bytes))
        with ExitStack() as started:
            started.callback(self._disk.close)
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
        return self._disk.extents()

    def pread_into(self, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` from `offset`, once that has arrived. Raises SourceInvalid past the end, SourceCorrupt."""
        self._disk.pread_into(offset, buffer)

    def close(self) -> None:
        """End the download and the lease, and give the space back; twice is harmless. No read may be under way."""
        if not self._disk.stop():
            return
        with self._lock:
            connection = self._connection
        if connection is not None and connection.sock is not None:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(connection.sock, socket.SHUT_RDWR)
        self._thread.join()
        self._disk.close()

    def _percent(self) -> int:
        return self._disk.arrived * 100 // max(self.size_bytes, 1)

    def _download(self) -> None:
        try:
            with contextlib.closing(self._connect()) as connection:
                response = self._get(connection)
                for extent in decode(response.read, self._disk.write, self.size_bytes):
                    self._told(extent)
            self._lease.end(complete=True)
            self._disk.complete()
        except AdapterError as error:
            self._disk.fail(error)
        except (OSError, http.client.HTTPException) as error:
            self._disk.fail(_lost(self._access.name, self._url.host, error))
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
        with self._lock:
            self._connection = connection
        try:
            self._disk.require_wanted()  # it may have been closed meanwhile
        except AdapterError:
            connection.close()
            raise
        return connection

    def _get(self, connection: http.client.HTTPSConnection) -> http.client.HTTPResponse:
        connection.request("GET", self._url.target, headers={"Cookie": f"vmware_soap_session={self._access.cookie()}"})
        response = connection.getresponse()
        if response.status != 200:
            raise SourceUnavailable(
                f"{self._access.name} is not sent", code="export-status", why=f"status {response.status}"
            )
        return response

    def _told(self, extent: Extent) -> None:
        if self._lease.broken is not None:
            raise self._lease.broken
        self._disk.told(extent)


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

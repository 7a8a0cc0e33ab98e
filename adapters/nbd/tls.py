"""NBD over TLS: whom we trust, and the encrypted wire. Imports `adapters.errors` only.

There is no way to skip verification: a policy names a CA, a pinned certificate, or both.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import select
import socket
import ssl
import time
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from cryptography import x509

from adapters.errors import SourceDenied, SourceInvalid
from adapters.nbd.wire import lost, stalled

_RECORD_BYTES = 16384


@dataclass(frozen=True, slots=True)
class TlsPolicy:
    """Which server is the right one.

    `ca_file` (or `ca_pem`, its text) must have signed the certificate, which then must be valid today and
    carry `hostname`. `certificate_sha256` pins the certificate itself (hex, colons allowed); a pinned
    certificate needs no CA and may be expired. `client_certificate` and `client_key` prove who we are.
    """

    ca_file: Path | None = None
    ca_pem: str | None = None
    certificate_sha256: str | None = None
    hostname: str | None = None
    client_certificate: Path | None = None
    client_key: Path | None = None

    def __post_init__(self) -> None:
        trusted = self.ca_file is not None or self.ca_pem is not None
        if not trusted and self.certificate_sha256 is None:
            raise SourceInvalid(
                "The TLS settings trust nobody",
                code="nbd-tls-policy",
                why="neither a CA nor a certificate fingerprint is given",
            )
        if trusted and not self.hostname:
            raise SourceInvalid(
                "The TLS settings name no host",
                code="nbd-tls-policy",
                why="a CA signs many certificates: the expected host name must be given",
            )
        if self.certificate_sha256 is not None and len(self.fingerprint()) != 32:
            raise SourceInvalid(
                "The certificate fingerprint is not SHA-256", code="nbd-tls-policy", why="it must be 64 hex digits"
            )

    def fingerprint(self) -> bytes:
        """Return the pinned digest, empty when it is not hexadecimal."""
        try:
            return bytes.fromhex((self.certificate_sha256 or "").replace(":", ""))
        except ValueError:
            return b""

    def context(self) -> ssl.SSLContext:
        """Build the TLS context; only a pin without a CA leaves the chain to `check_peer`."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.ca_file is None and self.ca_pem is None:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        try:
            if self.ca_file is not None or self.ca_pem is not None:
                context.load_verify_locations(cafile=self.ca_file, cadata=self.ca_pem)
            if self.client_certificate is not None:
                context.load_cert_chain(self.client_certificate, self.client_key)
        except (OSError, ssl.SSLError) as error:
            raise SourceInvalid(
                "The TLS files cannot be used", code="nbd-tls-files", why=error.strerror or str(error)
            ) from None
        return context

    def check_peer(self, certificate: bytes | None) -> None:
        """Check the peer's DER certificate against the pin. Raises SourceDenied."""
        if self.certificate_sha256 is None:
            return
        if certificate is None or not hmac.compare_digest(hashlib.sha256(certificate).digest(), self.fingerprint()):
            raise SourceDenied(
                "The NBD server shows another certificate",
                code="nbd-tls-pin",
                why="its SHA-256 fingerprint is not the pinned one",
                hint="Find out why the certificate changed before you pin the new one.",
            )
        if self.hostname is not None and self.hostname not in certificate_names(certificate):
            raise SourceDenied(
                "The NBD server's certificate names another host",
                code="nbd-tls-name",
                why=f"it is not for {self.hostname}",
            )


def certificate_names(der: bytes) -> set[str]:
    """Return the host names and addresses a certificate is for: subject alternative names, else common names."""
    try:
        certificate = x509.load_der_x509_certificate(der)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        common = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
        return {str(name.value) for name in common}
    except ValueError:
        return set()
    addresses = {str(address) for address in names.get_values_for_type(x509.IPAddress)}
    return addresses | set(names.get_values_for_type(x509.DNSName))


class TlsWire:
    """A TLS session over a non-blocking socket; its lock makes one thread at a time enter OpenSSL."""

    def __init__(self, sock: socket.socket, policy: TlsPolicy, deadline: float) -> None:
        context = policy.context()
        sock.settimeout(max(deadline - time.monotonic(), 0.001))
        # The handshake is not begun here, so that a failure leaves us a socket to close.
        self._tls = context.wrap_socket(sock, server_hostname=policy.hostname, do_handshake_on_connect=False)
        try:
            self._handshake(policy)
        except BaseException:
            self._tls.close()
            raise
        self._tls.settimeout(0)
        self._lock = Lock()

    def _handshake(self, policy: TlsPolicy) -> None:
        try:
            self._tls.do_handshake()
        except ssl.SSLCertVerificationError as error:
            raise SourceDenied(
                "The NBD server's certificate is not trusted", code="nbd-tls-untrusted", why=error.verify_message
            ) from None
        except TimeoutError:
            raise stalled() from None
        except OSError as error:
            raise SourceDenied(
                "The TLS handshake with the NBD server failed", code="nbd-tls-handshake", why=error.strerror or ""
            ) from None
        policy.check_peer(self._tls.getpeercert(binary_form=True))

    def send(self, data: bytes, deadline: float) -> None:
        """Send all of `data`."""
        view = memoryview(data)
        while view:
            try:
                with self._lock:
                    view = view[self._tls.send(view) :]
            except ssl.SSLWantWriteError:
                self._wait(select.POLLOUT, deadline)
            except ssl.SSLWantReadError:
                self._wait(select.POLLIN, deadline)
            except OSError as error:
                raise lost(error.strerror or "") from None

    def receive_into(self, buffer: memoryview, deadline: float) -> None:
        """Fill `buffer`."""
        while buffer:
            try:
                with self._lock:
                    count = self._tls.recv_into(buffer[:_RECORD_BYTES])
            except ssl.SSLWantReadError:
                self._wait(select.POLLIN, deadline)
                continue
            except ssl.SSLWantWriteError:
                self._wait(select.POLLOUT, deadline)
                continue
            except OSError as error:
                raise lost(error.strerror or "") from None
            if not count:
                raise lost()
            buffer = buffer[count:]
            if time.monotonic() > deadline:
                raise stalled()

    def _wait(self, events: int, deadline: float) -> None:
        poll = select.poll()
        poll.register(self._tls, events)
        if not poll.poll(max((deadline - time.monotonic()) * 1000, 0)):
            raise stalled()

    def shutdown(self) -> None:
        """Wake every thread that sends or receives; SSLSocket's own shutdown would leave a plain socket behind."""
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self._tls, socket.SHUT_RDWR)

    def close(self) -> None:
        """Release the socket."""
        self._tls.close()

"""Where a VDI is served over NBD, as `VDI.get_nbd_info` tells. Imports `adapters` and this package.

The export's name holds the session's id: it is a secret, and lives only until the connection is made. The certificate
comes through the pool's verified connection, and so is pinned itself.
"""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

from cryptography import x509

from adapters.errors import SourceDenied, SourceInvalid, SourceUnavailable
from adapters.nbd.address import TcpAddress
from adapters.nbd.tls import TlsPolicy, certificate_names
from adapters.secret import Secret
from adapters.xen.transport.access import VdiAccess

_END = "-----END CERTIFICATE-----"


@dataclass(frozen=True, slots=True)
class NbdPlace:
    """One address of one host that serves the VDI. `host` tells hosts apart: several addresses may be one's."""

    address: str
    host: str
    export: Secret = field(repr=False)
    tls: TlsPolicy | None


def nbd_places(access: VdiAccess, *, secure: bool) -> tuple[NbdPlace, ...]:
    """Ask the pool where the VDI is served now. Raises SourceUnavailable (`nbd-no-network`) when nowhere."""
    reference = access.pool.call("VDI.get_by_uuid", access.uuid)
    records = access.pool.call("VDI.get_nbd_info", reference)
    if not isinstance(records, list):
        raise _malformed(access.label, "it is no list")
    if not records:
        raise SourceUnavailable(
            f"{access.label} is not served over NBD",
            code="nbd-no-network",
            why="no host that sees the disk has an address in a network with the purpose nbd",
            hint="Give a network of the pool the purpose nbd, or allow the transport export.",
        )
    return tuple(_place(access.label, record, secure) for record in records)


def _place(label: str, record: Mapping[str, Any], secure: bool) -> NbdPlace:
    try:
        host, _, _ = str(record["address"]).partition("/")  # IPv6 comes with the length of its prefix
        address = str(TcpAddress(host, int(record["port"])))
        export, pem, subject = str(record["exportname"]), str(record["cert"]), str(record["subject"])
    except (KeyError, TypeError, ValueError):
        raise _malformed(label, "it lacks the address, the port, the name, the certificate or its subject") from None
    certificate = _leaf(label, pem) if pem or secure else b""
    known_by = hashlib.sha256(certificate).hexdigest() if certificate else host
    return NbdPlace(address, known_by, Secret(lambda: export), _policy(label, certificate, subject) if secure else None)


def _policy(label: str, certificate: bytes, subject: str) -> TlsPolicy:
    """Pin the certificate, and hold it against the subject that the pool says it has.

    For a certificate without any host name the pool gives the host's own name instead: nothing to compare.
    """
    names = certificate_names(certificate)
    if subject not in names and not all(map(_is_address, names)):
        raise SourceDenied(
            f"The NBD certificate for {label} names another host", code="nbd-tls-name", why=f"it is not for {subject}"
        )
    concrete = subject in names and not subject.startswith("*")
    return TlsPolicy(certificate_sha256=hashlib.sha256(certificate).hexdigest(), hostname=subject if concrete else None)


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _leaf(label: str, pem: str) -> bytes:
    """The first certificate of a PEM text: the server's own."""
    head, end, _ = pem.partition(_END)
    try:
        der = ssl.PEM_cert_to_DER_cert(head.lstrip() + end)
        x509.load_der_x509_certificate(der)
    except ValueError:
        raise _malformed(label, "its certificate cannot be read") from None
    return der


def _malformed(label: str, why: str) -> SourceInvalid:
    return SourceInvalid(f"The pool's answer about NBD for {label} is malformed", code="nbd-info", why=why)

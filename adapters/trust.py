"""Which server an adapter speaks to. Imports `adapters.errors` only.

Every TLS connection to a source goes through one context, which looks at the certificate in every handshake: a
library that pins by itself tends to look at the first connection only. Nothing is sent before that.
"""

from __future__ import annotations

import hashlib
import socket
import ssl
from pathlib import Path
from typing import Any

from adapters.errors import AdapterError, SourceDenied, SourceInvalid, SourceUnavailable

_LOOK_SECONDS = 10


class CertificateChanged(ssl.SSLError):
    """The server's certificate is none of the pinned ones; `found` is its SHA-256."""

    def __init__(self, found: str) -> None:
        super().__init__(1, "the certificate is not a pinned one")
        self.found = found


class TrustContext(ssl.SSLContext):
    """Trusts exactly what the settings say, in each connection made through `wrap_socket`.

    `leaves` are the certificates (DER) that connections showed last, by the name of the server.
    """

    pins: frozenset[str]
    leaves: dict[str, bytes]

    def wrap_socket(self, *args: Any, **kwargs: Any) -> ssl.SSLSocket:
        """Connect as the base class does, then compare the certificate. Raises CertificateChanged."""
        wrapped = super().wrap_socket(*args, **kwargs)
        leaf = wrapped.getpeercert(binary_form=True) or b""
        found = hashlib.sha256(leaf).hexdigest().upper()
        if self.pins and found not in self.pins:
            wrapped.close()
            raise CertificateChanged(found)
        self.leaves[str(wrapped.server_hostname or "").strip("[]")] = leaf
        return wrapped

    def wrap_bio(self, *args: Any, **kwargs: Any) -> ssl.SSLObject:
        """Refuse: the handshake would happen where it cannot be looked at."""
        raise NotImplementedError("connect through wrap_socket")


def trust_context(*, ca_file: Path | None, fingerprint: str | None, insecure: bool) -> TrustContext:
    """Build the context that a source's settings ask for: one of the three, or the system's authorities.

    `fingerprint` may be several, with commas between, one for each host of a pool. Raises SourceInvalid for a CA file
    that cannot be read.
    """
    context = TrustContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.pins, context.leaves = frozenset(map(plain, (fingerprint or "").split(","))) - {""}, {}
    if context.pins or insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    try:
        if ca_file is None:
            context.load_default_certs()
        else:
            context.load_verify_locations(ca_file)
    except (OSError, ssl.SSLError) as error:
        raise SourceInvalid(
            f"The CA file {ca_file} cannot be used", code="ca-file", why=error.strerror or str(error)
        ) from None
    return context


def plain(fingerprint: str) -> str:
    """A fingerprint without its colons, in capitals."""
    return fingerprint.replace(":", "").strip().upper()


def shown_fingerprint(host: str) -> str | None:
    """The SHA-256 of the certificate that HOST:PORT shows to anybody, for a person to compare; None without an answer.

    A handshake and nothing more: what answers may be anyone.
    """
    name, _, port = host.rpartition(":")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with (
            socket.create_connection((name.strip("[]"), int(port)), _LOOK_SECONDS) as raw,
            context.wrap_socket(raw, server_hostname=name.strip("[]")) as wrapped,
        ):
            leaf = wrapped.getpeercert(binary_form=True)
    except (OSError, ValueError):
        return None
    return in_pairs(hashlib.sha256(leaf or b"").hexdigest())


def in_pairs(digest: str) -> str:
    """Hex digits as certificates' fingerprints are written: AA:BB:…"""
    return ":".join(digest[at : at + 2].upper() for at in range(0, len(digest), 2))


def tls_error(error: ssl.SSLError, host: str) -> AdapterError:
    """Translate a failed handshake."""
    if isinstance(error, CertificateChanged):
        return SourceDenied(
            f"{host} shows another certificate than the pinned one",
            code="certificate-changed",
            why=f"its SHA-256 is {in_pairs(error.found)}",
            hint="Make sure that its administrators replaced it, then remove the source and add it again under its name"
            " with the new fingerprint: what was backed up stays.",
        )
    if isinstance(error, ssl.SSLCertVerificationError):
        shown = shown_fingerprint(host)
        return SourceDenied(
            f"The certificate of {host} is not trusted",
            code="certificate-untrusted",
            why=error.verify_message + (f"; its SHA-256 is {shown}" if shown else ""),
            hint="Give the source the CA file that signs it; or compare that SHA-256 with what the server's own console"
            " says, not over this network, and pin it as the source's fingerprint.",
        )
    return SourceUnavailable(
        f"The TLS connection to {host} failed", code="tls-failed", why=getattr(error, "reason", None) or str(error)
    )

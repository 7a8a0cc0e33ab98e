"""Which hosts we speak to. Imports `adapters.errors` and this package's `settings`.

Every TLS connection to a host's API goes through one context, which looks at the certificate in every handshake: of the
host that the settings name, and of each that a member names as its master. Nothing is sent before that.
"""

from __future__ import annotations

import hashlib
import ssl
from typing import Any

from adapters.errors import AdapterError, SourceDenied, SourceInvalid, SourceUnavailable
from adapters.xen.settings import XenSettings


class CertificateChanged(ssl.SSLError):
    """A host's certificate is none of the pinned ones; `found` is its SHA-256."""

    def __init__(self, found: str) -> None:
        super().__init__(1, "the certificate is not a pinned one")
        self.found = found


class TrustContext(ssl.SSLContext):
    """Trusts exactly what the settings say, in each connection made through `wrap_socket`."""

    pins: frozenset[str]

    def wrap_socket(self, *args: Any, **kwargs: Any) -> ssl.SSLSocket:
        """Connect as the base class does, then compare the certificate. Raises CertificateChanged."""
        wrapped = super().wrap_socket(*args, **kwargs)
        found = hashlib.sha256(wrapped.getpeercert(binary_form=True) or b"").hexdigest().upper()
        if self.pins and found not in self.pins:
            wrapped.close()
            raise CertificateChanged(found)
        return wrapped

    def wrap_bio(self, *args: Any, **kwargs: Any) -> ssl.SSLObject:
        """Refuse: the handshake would happen where it cannot be looked at."""
        raise NotImplementedError("connect through wrap_socket")


def trust_context(settings: XenSettings) -> TrustContext:
    """Build the context that `settings` ask for. Raises SourceInvalid for a CA file that cannot be read."""
    context = TrustContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.pins = settings.pins
    if settings.pins or settings.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    try:
        if settings.ca_file is None:
            context.load_default_certs()
        else:
            context.load_verify_locations(settings.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise SourceInvalid(
            f"The CA file {settings.ca_file} cannot be used", code="ca-file", why=error.strerror or str(error)
        ) from None
    return context


def tls_error(error: ssl.SSLError, host: str) -> AdapterError:
    """Translate a failed handshake with `host`."""
    if isinstance(error, CertificateChanged):
        return SourceDenied(
            f"{host} shows a certificate that is not pinned",
            code="certificate-changed",
            why=f"its SHA-256 is {error.found}",
            hint="Compare it with `xe host-get-server-certificate` on the host itself. If it was replaced there, or"
            " the host is another one of the pool, give the source that fingerprint, too.",
        )
    if isinstance(error, ssl.SSLCertVerificationError):
        return SourceDenied(
            f"The certificate of {host} is not trusted",
            code="certificate-untrusted",
            why=error.verify_message,
            hint="Give the source the CA file that signs the certificates of the pool's hosts, or their fingerprints.",
        )
    return SourceUnavailable(
        f"The TLS connection to {host} failed", code="tls-failed", why=getattr(error, "reason", None) or str(error)
    )

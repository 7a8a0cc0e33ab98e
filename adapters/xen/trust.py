"""Which hosts of a pool we speak to. Imports `adapters.errors`, `adapters.trust` and this package's `settings`.

The same context looks at the host that the settings name, and at each that a member names as its master.
"""

from __future__ import annotations

import ssl

from adapters.errors import AdapterError
from adapters.trust import CertificateChanged, TrustContext
from adapters.trust import tls_error as shared_error
from adapters.trust import trust_context as shared_context
from adapters.xen.settings import XenSettings


def trust_context(settings: XenSettings) -> TrustContext:
    """Build the context that `settings` ask for. Raises SourceInvalid for a CA file that cannot be read."""
    return shared_context(ca_file=settings.ca_file, fingerprint=settings.fingerprint, insecure=settings.insecure)


def tls_error(error: ssl.SSLError, host: str) -> AdapterError:
    """Translate a failed handshake with HOST:PORT; another certificate may be that of another host of the pool."""
    told = shared_error(error, host)
    if isinstance(error, CertificateChanged):
        told.hint = (
            "Compare it with `xe host-get-server-certificate` on the host itself. If it was replaced there, or"
            " the host is another one of the pool, give the source that fingerprint, too."
        )
    return told

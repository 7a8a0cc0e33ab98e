"""Which vSphere server we speak to. Imports `adapters.trust` and this package's `settings`."""

from __future__ import annotations

import hashlib

from adapters.trust import TrustContext, in_pairs
from adapters.trust import trust_context as shared_context
from adapters.vmware.settings import VmwareSettings


def trust_context(settings: VmwareSettings) -> TrustContext:
    """Build the context that `settings` ask for. Raises SourceInvalid for a CA file that cannot be read."""
    return shared_context(ca_file=settings.ca_file, fingerprint=settings.fingerprint, insecure=settings.insecure)


def thumbprint_sha1(leaf: bytes) -> str:
    """The SHA-1 of a certificate as VMware's own libraries want it: AA:BB:…"""
    return in_pairs(hashlib.sha1(leaf, usedforsecurity=False).hexdigest())

"""What a source of kind xen is told. Imports `adapters.errors`, `adapters.secret` and nothing else of ours.

Exactly one way to trust the pool is meant: pinned fingerprints, a CA file, the system's authorities (neither is given),
or none at all, which must be asked for by name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from adapters.errors import SourceInvalid
from adapters.secret import Secret

TRANSPORTS = ("nbd", "export")
"""What is allowed unless the settings say otherwise: NBD over TLS, and `/export_raw_vdi` over HTTPS."""

KNOWN_TRANSPORTS = (*TRANSPORTS, "insecure_nbd")
"""`insecure_nbd` sends disks in clear text and must be named."""

_FINGERPRINT = re.compile(r"[0-9A-F]{64}")


@dataclass(frozen=True, slots=True)
class XenSettings:
    """Where a pool's master is, and how to reach it.

    `members` are further hosts of the pool, asked for the master when `host` is gone, as are those that the pool tells
    of. `fingerprint` is the SHA-256 of the host's own certificate, hex with or without colons; several of them, one for
    each host of the pool, are separated by commas. With `keep_snapshots` the last snapshot of a disk whose changes the
    pool does not track stays there, whole, for the next backup to be compared with by the pool.
    """

    host: str
    user: str
    password: Secret = field(repr=False)
    port: int = 443
    ca_file: Path | None = None
    fingerprint: str | None = None
    insecure: bool = False
    members: tuple[str, ...] = ()
    transports: tuple[str, ...] = TRANSPORTS
    connections_per_host: int = 16
    keep_snapshots: bool = False

    def __post_init__(self) -> None:
        if not self.host or not self.user:
            raise _invalid("the host and the user are needed")
        if sum((self.ca_file is not None, self.fingerprint is not None, self.insecure)) > 1:
            raise _invalid("a CA file, a fingerprint and insecure exclude each other")
        if self.fingerprint is not None and not all(map(_FINGERPRINT.fullmatch, self.pins)):
            raise _invalid("a fingerprint is 64 hex digits: the SHA-256 of the host's certificate")
        if not self.transports or not set(self.transports) <= set(KNOWN_TRANSPORTS):
            raise _invalid(f"transports are some of {', '.join(KNOWN_TRANSPORTS)}")
        if not 1 <= self.port <= 65535 or self.connections_per_host < 1:
            raise _invalid("port and connections per host are positive numbers")

    @property
    def pins(self) -> frozenset[str]:
        """The fingerprints without their colons, in capitals."""
        return frozenset(pin.replace(":", "").strip().upper() for pin in (self.fingerprint or "").split(",") if pin)


def _invalid(why: str) -> SourceInvalid:
    return SourceInvalid("The settings of the xen source are wrong", code="xen-settings", why=why)

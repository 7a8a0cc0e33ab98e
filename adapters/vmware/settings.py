"""What a source of kind vmware is told. Imports `errors`, `secret` and `trust` of `adapters`, and this package.

Exactly one way to trust the server is meant: a pinned fingerprint, a CA file, the system's authorities (neither is
given), or none at all, which must be asked for by name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from adapters.errors import SourceInvalid
from adapters.secret import Secret
from adapters.trust import plain
from adapters.vmware.transport.array.settings import ArraySettings

Quiesce = Literal["require", "prefer", "never"]
"""Whether the guest is asked to come to rest: or else no backup, or else a crash consistent one, or not at all."""

TRANSPORTS = ("array_snapshot", "san", "hotadd", "nbdssl", "http_folder", "export")
"""What is allowed unless the settings say otherwise. `nbd` sends disks in clear text and must be named;
`array_snapshot` wants the settings of an array, and is blocked without."""

_FINGERPRINT = re.compile(r"[0-9A-F]{64}")


@dataclass(frozen=True, slots=True)
class VmwareSettings:
    """Where a vCenter or an ESXi host is, and how to reach it.

    `fingerprint` is the SHA-256 of the server's own certificate, hex with or without colons. `array` is the
    storage array that holds some of the disks.
    """

    host: str
    user: str
    password: Secret = field(repr=False)
    port: int = 443
    ca_file: Path | None = None
    fingerprint: str | None = None
    insecure: bool = False
    transports: tuple[str, ...] = TRANSPORTS
    quiesce: Quiesce = "prefer"
    vddk_dir: Path | None = None
    connections_per_host: int = 8
    array: ArraySettings | None = None

    def __post_init__(self) -> None:
        if not self.host or not self.user:
            raise _invalid("the host and the user are needed")
        if sum((self.ca_file is not None, self.fingerprint is not None, self.insecure)) > 1:
            raise _invalid("a CA file, a fingerprint and insecure exclude each other")
        if self.fingerprint is not None and not _FINGERPRINT.fullmatch(plain(self.fingerprint)):
            raise _invalid("a fingerprint is 64 hex digits: the SHA-256 of the server's certificate")
        if self.quiesce not in get_args(Quiesce):
            raise _invalid(f"quiesce is one of {', '.join(get_args(Quiesce))}")
        if not 1 <= self.port <= 65535 or self.connections_per_host < 1:
            raise _invalid("port and connections per host are positive numbers")


def _invalid(why: str) -> SourceInvalid:
    return SourceInvalid("The settings of the vmware source are wrong", code="vmware-settings", why=why)

"""What a source of kind hyperv is told. Imports `adapters.errors`, `adapters.secret`, `adapters.trust`.

Exactly one way to trust the host is meant: a pinned fingerprint, a CA file, the system's authorities (none of these is
given), or none at all, which must be asked for by name. A password never travels in clear text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from adapters.errors import SourceInvalid
from adapters.secret import Secret
from adapters.trust import plain

Authentication = Literal["ntlm", "kerberos", "credssp", "basic"]
"""How WinRM learns who asks. Kerberos and CredSSP need the extra of their name."""

AppConsistency = Literal["require", "prefer", "never"]
"""Whether checkpoints are application consistent: or else no backup, or else a crash consistent one, or not at all."""

_FINGERPRINT = re.compile(r"[0-9A-F]{64}")


@dataclass(frozen=True, slots=True)
class HypervSettings:
    """Where a Hyper-V host or a failover cluster is, and how to reach it.

    `host` is a name or an address, IPv6 ones with or without brackets. `fingerprint` is the SHA-256 of the host's own
    certificate, hex with or without colons. `plain_http` sends messages that NTLM or Kerberos encrypts over HTTP.
    `cluster` says that `host` answers for all nodes of its cluster. `legacy` is for hosts before Windows Server 2016.
    `smb_share` is a share that has every drive as a folder in it; None reads the administrative shares (`C$`).
    """

    host: str
    user: str
    password: Secret = field(repr=False)
    port: int = 5986
    authentication: Authentication = "ntlm"
    ca_file: Path | None = None
    fingerprint: str | None = None
    insecure: bool = False
    plain_http: bool = False
    cluster: bool = False
    consistency: AppConsistency = "prefer"
    legacy: bool = False
    smb_port: int = 445
    smb_encrypt: bool = False
    smb_share: str | None = None
    smb_handles: int = 4

    def __post_init__(self) -> None:
        if not self.host or not self.user:
            raise _invalid("the host and the user are needed")
        if self.authentication not in get_args(Authentication):
            raise _invalid(f"authentication is one of {', '.join(get_args(Authentication))}")
        if self.consistency not in get_args(AppConsistency):
            raise _invalid(f"consistency is one of {', '.join(get_args(AppConsistency))}")
        self._require_one_trust()
        if self.legacy and self.consistency == "require":
            raise _invalid("a host before Windows Server 2016 does not say whether a guest came to rest")
        if not all(1 <= port <= 65535 for port in (self.port, self.smb_port)):
            raise _invalid("a port is a number from 1 to 65535")
        if not 1 <= self.smb_handles <= 16:
            raise _invalid("1 to 16 SMB handles are opened for each disk")

    def _require_one_trust(self) -> None:
        trusts = (self.ca_file is not None, self.fingerprint is not None, self.insecure)
        if sum(trusts) > 1:
            raise _invalid("a CA file, a fingerprint and insecure exclude each other")
        if self.plain_http and any(trusts):
            raise _invalid("plain HTTP has no certificate that a CA file, a fingerprint or insecure could be about")
        if self.plain_http and self.authentication in ("basic", "credssp"):
            raise _invalid(
                f"{self.authentication} over plain HTTP is refused: only NTLM and Kerberos are allowed there, whose"
                " messages are always encrypted"
            )
        if self.cluster and self.fingerprint is not None:
            raise _invalid("each node of a cluster has a certificate of its own: give a CA file")
        if self.fingerprint is not None and not _FINGERPRINT.fullmatch(plain(self.fingerprint)):
            raise _invalid("a fingerprint is 64 hex digits: the SHA-256 of the host's certificate")


def _invalid(why: str) -> SourceInvalid:
    return SourceInvalid("The settings of the hyperv source are wrong", code="hyperv-settings", why=why)

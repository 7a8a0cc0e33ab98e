"""One pool: its database, hosts, sessions and disks, and the call that somebody makes."""

from __future__ import annotations

import uuid
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xmlrpc.client import DateTime

from tests.support.xapi.faults import Faults
from tests.support.xapi.published import NULL, XapiFailure
from tests.support.xapi.records import Records

if TYPE_CHECKING:
    from tests.support.xapi.disks import Disks


@dataclass(frozen=True)
class NbdServer:
    """What serves a host's disks over NBD, if anything does: `certificate` is PEM, `subject` a name in it."""

    port: int
    certificate: str
    subject: str


class World:
    """The pool; `hosts` are references, the first of them the master until somebody changes that."""

    def __init__(self, directory: Path, user: str, password: str) -> None:
        from tests.support.xapi.disks import Disks

        self.records = Records()
        self.faults = Faults()
        self.disks: Disks = Disks(self, directory)
        self.user = user
        self.password = password
        self.hosts: list[str] = []
        self.master = NULL
        self.pool = NULL
        self.nbd_servers: dict[str, NbdServer] = {}
        """By the hosts' references; a host without one is not told of by VDI.get_nbd_info."""
        self.data_destroy_seconds = 4.0
        """How long VDI.data_destroy waits for those who use the disk."""
        self.calls: Counter[str] = Counter()
        """How many calls had an effect or an answer, by their published names."""

    def log_in(self, user: str, password: str, host: str, originator: str = "") -> str:
        """Open a session. Raises SESSION_AUTHENTICATION_FAILED."""
        if (user, password) != (self.user, self.password):
            raise XapiFailure("SESSION_AUTHENTICATION_FAILED", user, "Authentication failure")
        return self.records.create("session", this_host=host, pool=True, originator=originator)

    def assert_session(self, session: Any) -> None:
        """Raise SESSION_INVALID."""
        if not isinstance(session, str) or not self.records.exists("session", session):
            raise XapiFailure("SESSION_INVALID", str(session))

    def expire_sessions(self) -> None:
        """End all sessions."""
        for session in self.records.find("session"):
            self.records.destroy("session", session)

    def restricts(self, flag: str) -> bool:
        """Whether the licence takes a feature away, such as `restrict_cbt`."""
        return bool(self.records.get("pool", self.pool)["restrictions"].get(flag) == "true")

    def is_snapshot_machine(self, vbd: str) -> bool:
        """Whether a VBD is of a snapshot."""
        machine = self.records.get("VBD", vbd)["VM"]
        return bool(self.records.exists("VM", machine) and self.records.get("VM", machine)["is_a_snapshot"])

    def address_of(self, host: str) -> str:
        """Where a host listens."""
        return str(self.records.get("host", host)["address"])


@dataclass
class Call:
    """Who calls, at which host, and as part of which task."""

    world: World
    host: str
    session: str
    task: str = NULL


def now() -> DateTime:
    """The time as XenAPI tells it."""
    return DateTime(datetime.now(UTC).strftime("%Y%m%dT%H:%M:%SZ"))


def new_mac() -> str:
    """An address for a network interface."""
    digits = uuid.uuid4().hex[:10]
    return ":".join(["3a", *(digits[at : at + 2] for at in range(0, 10, 2))])

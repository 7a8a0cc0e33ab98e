"""How many connections this process keeps open to one host. Imports `adapters.errors` only.

A server counts connections, not readers (vCenter's NFC service takes 52, an ESXi host fewer). Connections that wait for
their next request count; one of them is closed when another reader needs its place.
"""

from __future__ import annotations

import time
from http.client import HTTPSConnection
from ssl import SSLContext
from threading import Condition, Lock

from adapters.errors import SourceLimit

DEFAULT_CAP = 8
TURN_SECONDS = 600.0
"""How long a reader waits for a place: others may be in the middle of a disk."""


class HostConnections:
    """The places of one host. `take` one before a connection is opened, `leave` once it is closed, or `park` it."""

    def __init__(self, host: str, cap: int = DEFAULT_CAP) -> None:
        self._host = host
        self._cap = cap
        self._free = Condition()
        self._open = 0
        self._parked: list[tuple[SSLContext, HTTPSConnection]] = []

    @property
    def open(self) -> int:
        """How many places are taken now, those of parked connections included."""
        return self._open

    def limit(self, cap: int) -> None:
        """Set how many places there are; connections above it are not cut, but not replaced either."""
        with self._free:
            self._cap = cap
            self._free.notify_all()

    def take(self, trust: SSLContext | None, seconds: float = TURN_SECONDS) -> HTTPSConnection | None:
        """Take a place: with a connection that was parked under the same trust, or empty (None), to open one.

        Raises SourceLimit when no place becomes free within `seconds`.
        """
        deadline = time.monotonic() + seconds
        with self._free:
            while True:
                if parked := self._parked_under(trust):
                    return parked
                if self._parked and self._open >= self._cap:
                    self._parked.pop(0)[1].close()
                    self._open -= 1
                    continue
                if self._open < self._cap:
                    self._open += 1
                    return None
                if not self._free.wait(max(deadline - time.monotonic(), 0)):
                    raise SourceLimit(
                        f"All {self._cap} connections to {self._host} are in use",
                        code="host-connections",
                        why=f"none became free within {seconds:.0f} seconds",
                        hint="Run fewer backups at once, or allow more connections if the server can take them.",
                    )

    def park(self, trust: SSLContext, connection: HTTPSConnection) -> None:
        """Give a place back with its connection open, for the next request under the same trust."""
        with self._free:
            self._parked.append((trust, connection))
            self._free.notify()

    def leave(self) -> None:
        """Give a place back whose connection is closed."""
        with self._free:
            self._open -= 1
            self._free.notify()

    def close_parked(self, trust: SSLContext) -> None:
        """Close what is parked under `trust`."""
        with self._free:
            while parked := self._parked_under(trust):
                parked.close()
                self._open -= 1
            self._free.notify_all()

    def _parked_under(self, trust: SSLContext | None) -> HTTPSConnection | None:
        """Take out the connection that was parked last: the likeliest to be still open at the server."""
        for place in range(len(self._parked) - 1, -1, -1):
            if self._parked[place][0] is trust:
                return self._parked.pop(place)[1]
        return None


_hosts: dict[tuple[str, int], HostConnections] = {}
_looking = Lock()


def connections_to(host: str, port: int) -> HostConnections:
    """Return this process's connections to a host: the same object for every reader and thread."""
    with _looking:
        return _hosts.setdefault((host.lower(), port), HostConnections(host))

"""How many connections this process keeps open to one host. Imports `adapters.hostlimit` and the settings.

vCenter's NFC service takes 52 connections, an ESXi host fewer. Connections that wait for their next request count; one
of them is closed when another reader needs its place, and its place is free once the server has closed it, too.
"""

from __future__ import annotations

import time
from collections import Counter
from contextlib import suppress
from http.client import HTTPSConnection
from ssl import SSLContext, SSLSocket
from threading import Lock

from adapters.hostlimit import DEFAULT_CAP, TURN_SECONDS, HostPlaces
from adapters.vmware.settings import VmwareSettings

_PARTING_SECONDS = 1.0


class HostConnections(HostPlaces):
    """The places of one host. `take` one before a connection is opened, `leave` once it is closed, or `park` it.

    A reader that parks connections says `join` before and `part` in the end. Parked connections have their places.
    """

    def __init__(self, host: str, cap: int = DEFAULT_CAP) -> None:
        super().__init__(host, cap)
        self._parked: list[tuple[SSLContext, HTTPSConnection]] = []
        self._readers: Counter[SSLContext] = Counter()

    def enter(self, seconds: float = TURN_SECONDS) -> None:
        """Take an empty place; a parked connection is closed for it where none is free."""
        self.take(None, seconds)

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
                    hang_up(self._parked.pop(0)[1])
                    self._open -= 1
                    continue
                if self._open < self._cap:
                    self._open += 1
                    return None
                self._wait(deadline, seconds)

    def park(self, trust: SSLContext, connection: HTTPSConnection) -> None:
        """Give a place back with its connection open, for the next request under the same trust."""
        with self._free:
            self._parked.append((trust, connection))
            self._free.notify()

    def join(self, trust: SSLContext) -> None:
        """Count a reader in."""
        with self._free:
            self._readers[trust] += 1

    def part(self, trust: SSLContext) -> None:
        """Count a reader out; the last one under a trust closes what is parked under it."""
        idle = []
        with self._free:
            self._readers[trust] -= 1
            if self._readers[trust] <= 0:
                del self._readers[trust]
                while parked := self._parked_under(trust):
                    idle.append(parked)
        for connection in idle:
            hang_up(connection)
            self.leave()

    def _parked_under(self, trust: SSLContext | None) -> HTTPSConnection | None:
        """Take out the connection that was parked last: the likeliest to be still open at the server."""
        for place in range(len(self._parked) - 1, -1, -1):
            if self._parked[place][0] is trust:
                return self._parked.pop(place)[1]
        return None


def hang_up(connection: HTTPSConnection) -> None:
    """Close an idle connection, and wait a moment until the server did: it counts the connection until then."""
    if isinstance(connection.sock, SSLSocket):
        with suppress(OSError, ValueError):  # it is closed in every case
            connection.sock.settimeout(_PARTING_SECONDS)
            connection.sock.unwrap()
    connection.close()


_hosts: dict[tuple[str, int], HostConnections] = {}
_looking = Lock()


def connections_to(host: str, port: int) -> HostConnections:
    """Return this process's connections to a host: the same object for every reader and thread."""
    with _looking:
        return _hosts.setdefault((host.lower(), port), HostConnections(host))


def host_place(server: str, host_moref: str | None) -> str:
    """Whose connections are counted: the ESXi host's, behind a vCenter, too."""
    return f"{server}/{host_moref}" if host_moref is not None else server


def connections_of(settings: VmwareSettings, host_moref: str | None) -> HostConnections:
    """The connections to an ESXi host, with the limit that the settings of its server say."""
    found = connections_to(host_place(settings.host, host_moref), settings.port)
    found.limit(settings.connections_per_host)
    return found

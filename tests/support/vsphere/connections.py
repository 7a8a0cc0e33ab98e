"""The simulator's open connections, and how many of them carry data of which host's machines."""

from __future__ import annotations

import socket
from collections import Counter, defaultdict
from contextlib import suppress
from threading import Lock


class Connections:
    """Every client's connection; one counts for a host from its first read of a disk there until it closes."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._open: dict[socket.socket, set[str]] = {}
        self._most: Counter[str] = Counter()
        self._broken = False
        self.accepted = 0

    def opened(self, connection: socket.socket) -> None:
        """Count a new connection; it is cut at once when all others were."""
        with self._lock:
            self._open[connection] = set()
            self.accepted += 1
            if self._broken:
                _cut(connection)

    def carries(self, connection: socket.socket, host: str) -> None:
        """Count a connection for a host."""
        with self._lock:
            self._open.get(connection, set()).add(host)
            self._most[host] = max(self._most[host], self._now()[host])

    def closed(self, connection: socket.socket) -> None:
        """Count a connection no more."""
        with self._lock:
            self._open.pop(connection, None)

    def peak(self, host: str) -> int:
        """The most connections that ever carried a host's data at once."""
        with self._lock:
            return self._most[host]

    def now(self, host: str) -> int:
        """How many do so now."""
        with self._lock:
            return self._now()[host]

    def break_all(self) -> None:
        """Cut every connection, and those that are still to come."""
        with self._lock:
            self._broken = True
            for connection in self._open:
                _cut(connection)

    def _now(self) -> dict[str, int]:
        counts: dict[str, int] = defaultdict(int)
        for hosts in self._open.values():
            for host in hosts:
                counts[host] += 1
        return counts


def _cut(connection: socket.socket) -> None:
    with suppress(OSError):
        socket.socket.shutdown(connection, socket.SHUT_RDWR)  # TLS has no say in it

"""How many connections this process keeps open to one host, whichever job needs them. Imports `adapters.errors`.

A server counts connections, not readers. Every reader of a host takes its places from the same `HostPlaces`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition, Lock

from adapters.errors import SourceLimit

DEFAULT_CAP = 8
TURN_SECONDS = 600.0
"""How long a request waits for a place."""

DISK_TURN_SECONDS = 3600.0
"""How long a disk waits that will hold its place until it is read: others may be in the middle of theirs."""


class HostPlaces:
    """The places of one host. `enter` before a connection is opened, `leave` once it is closed."""

    def __init__(self, host: str, cap: int = DEFAULT_CAP) -> None:
        self._host = host
        self._cap = cap
        self._free = Condition()
        self._open = 0

    @property
    def open(self) -> int:
        """How many places are taken now."""
        return self._open

    def limit(self, cap: int) -> None:
        """Set how many places there are; connections above it are not cut, but not replaced either."""
        with self._free:
            self._cap = cap
            self._free.notify_all()

    def enter(self, seconds: float = TURN_SECONDS) -> None:
        """Take a place. Raises SourceLimit when none becomes free within `seconds`."""
        deadline = time.monotonic() + seconds
        with self._free:
            while self._open >= self._cap:
                self._wait(deadline, seconds)
            self._open += 1

    def try_enter(self) -> bool:
        """Take a place if one is free now."""
        with self._free:
            if self._open >= self._cap:
                return False
            self._open += 1
            return True

    def leave(self) -> None:
        """Give a place back whose connection is closed."""
        with self._free:
            self._open -= 1
            self._free.notify()

    @contextmanager
    def one(self) -> Iterator[None]:
        """Hold a place for the length of the block, for a connection that is closed within it."""
        self.enter(DISK_TURN_SECONDS)
        try:
            yield
        finally:
            self.leave()

    def _wait(self, deadline: float, seconds: float) -> None:
        """Wait, the lock held, until something was left. Raises SourceLimit past the deadline."""
        if not self._free.wait(max(deadline - time.monotonic(), 0)):
            raise SourceLimit(
                f"All {self._cap} connections to {self._host} are in use",
                code="host-connections",
                why=f"none became free within {seconds:.0f} seconds",
                hint="Run fewer backups at once, or allow more connections if the server can take them.",
            )


_hosts: dict[tuple[str, str, int], HostPlaces] = {}
_looking = Lock()


def places_at(service: str, host: str, port: int, cap: int) -> HostPlaces:
    """Return this process's places of a service at a host, `cap` of them from now on: one object for every caller."""
    with _looking:
        found = _hosts.setdefault((service, host.lower(), port), HostPlaces(host, cap))
    found.limit(cap)
    return found

"""How many connections we keep open to one host, whichever job or process needs them. Imports `adapters.errors` only.

A place is a file that its holder has locked: the kernel gives it back however the holder ends. All processes that share
`folder` share the places; the server's own limit also counts the connections of other products.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from pathlib import Path

from adapters.errors import SourceLimit, SourceUnavailable


class Place:
    """One connection's place, until `leave`."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def leave(self) -> None:
        """Give the place back once the connection is closed; twice is harmless."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


class HostPlaces:
    """`cap` places of the service `name`; processes whose caps differ share the places that both have."""

    def __init__(self, folder: Path, name: str, cap: int) -> None:
        self._folder = folder / f"places-{hashlib.sha256(name.encode()).hexdigest()[:16]}"
        self._name = name
        self._cap = cap

    def try_enter(self) -> Place | None:
        """Take a place if one is free now. Raises SourceUnavailable where they cannot be counted."""
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            return next(filter(None, map(self._lock, range(self._cap))), None)
        except OSError as error:
            raise SourceUnavailable(
                f"The connections to {self._name} cannot be counted", code="host-connections-unknown", why=str(error)
            ) from None

    def _lock(self, number: int) -> Place | None:
        # A program that is started while we hold a place must not hold it on: the lock is of the open file.
        descriptor = os.open(self._folder / str(number), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except BaseException:
            os.close(descriptor)
            raise
        return Place(descriptor)


def none_free(name: str, cap: int, seconds: float) -> SourceLimit:
    """Build the error of a host that is used to its limit."""
    return SourceLimit(
        f"All {cap} connections to {name} are in use",
        code="host-connections",
        why=f"none became free within {seconds:.0f} seconds",
        hint="Run fewer backups at once; a Xen host serves 16 NBD connections, those of other products included.",
    )

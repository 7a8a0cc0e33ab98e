"""Which machines this process works on: one job for a machine at a time. Imports `adapters.errors`."""

from __future__ import annotations

import threading

from adapters.errors import SourceConflict

_lock = threading.Lock()
_claimed: dict[tuple[str, str], str] = {}


class Claim:
    """A machine of a pool taken for one job, until `give_back`."""

    def __init__(self, pool: str, key: str, name: str, label: str) -> None:
        """Raise SourceConflict when another job has the machine."""
        self._place = (pool, key)
        with _lock:
            if (other := _claimed.get(self._place)) is not None:
                raise SourceConflict(
                    f"A backup of {name} is running",
                    code="backup-running",
                    why=f"{other} is open",
                    hint="Wait until it ends.",
                )
            _claimed[self._place] = label
        self._held = True

    def give_back(self) -> None:
        """Let the next job have it; twice is harmless."""
        with _lock:
            if self._held:
                self._held = False
                del _claimed[self._place]


def require_idle(pool: str, key: str, name: str) -> None:
    """Raise SourceConflict when a job of this process has the machine."""
    Claim(pool, key, name, "reconcile").give_back()

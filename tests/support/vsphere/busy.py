"""How long the simulator has been at work for its clients, to tell its time from theirs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock


class BusyClock:
    """Counts the time in which at least one request is being answered."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._working = 0
        self._since = 0.0
        self._total = 0.0

    @contextmanager
    def working(self) -> Iterator[None]:
        """Answer a request for the length of the block."""
        with self._lock:
            if not self._working:
                self._since = time.monotonic()
            self._working += 1
        try:
            yield
        finally:
            with self._lock:
                self._working -= 1
                if not self._working:
                    self._total += time.monotonic() - self._since

    @property
    def seconds(self) -> float:
        """The time so far, of requests that were answered."""
        with self._lock:
            return self._total

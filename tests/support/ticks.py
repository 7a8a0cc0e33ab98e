"""A monotonic clock that only tests move."""

from __future__ import annotations


class Ticks:
    """Seconds, as of `now`."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

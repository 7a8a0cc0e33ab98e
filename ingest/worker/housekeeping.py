"""What a worker does beside tasks, now and then: events leave the house, checkpoints are published.

Imports `ingest.aftercare` and `ingest.wiring`. The service cannot ship events, having no key, and so publishes no
checkpoint over more than a worker has shipped.
"""

from __future__ import annotations

from collections.abc import Callable

from catalog.home import Home
from ingest.aftercare import care
from ingest.streams import Clock
from ingest.wiring import opened, utc_now

EVERY_S = 30.0


class Housekeeping:
    """Takes the steps of `ingest.aftercare` when called, at most every `every_s` seconds; tells what goes wrong."""

    def __init__(
        self,
        home: Home,
        *,
        warn: Callable[[str], None],
        monotonic: Callable[[], float],
        clock: Clock = utc_now,
        every_s: float = EVERY_S,
    ) -> None:
        self._home = home
        self._warn = warn
        self._monotonic = monotonic
        self._clock = clock
        self._every_s = every_s
        self._due = monotonic()
        self._last = -1

    def __call__(self) -> None:
        """Take the steps if it is time and something was recorded. Raises Corrupt; other failures are warnings."""
        if self._monotonic() < self._due:
            return
        self._due = self._monotonic() + self._every_s
        with opened(self._home, clock=self._clock) as services:
            if services.log.position() == self._last:
                return
            for trouble in care(services):
                self._warn(trouble)
            self._last = services.log.position()

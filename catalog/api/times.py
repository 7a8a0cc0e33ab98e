"""When log positions were recorded, for the answers that are of them. Imports `catalog.log`."""

from __future__ import annotations

from datetime import UTC
from functools import lru_cache

from catalog.log import EventLog

KEPT = 512


class PositionTimes:
    """Asks the log once for each position; safe to use from several threads."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self.shown = lru_cache(maxsize=KEPT)(self._shown)

    def _shown(self, position: int) -> str:
        """The time of the event at `position`, RFC 3339 UTC; empty where there is none."""
        found = self._log.poll(position - 1, max_bytes=1) if position > 0 else []
        if not found or found[0].position != position:
            return ""
        return found[0].event.recorded_at.astimezone(UTC).isoformat().replace("+00:00", "Z")

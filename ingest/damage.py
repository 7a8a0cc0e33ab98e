"""Packs that were found damaged: recorded once each, and cited by nothing new from then on.

Imports `catalog` only. The repository's own stream holds them; there are few, so reading it is cheap.
"""

from __future__ import annotations

from uuid import UUID

from catalog.domain.events import PackDamaged
from catalog.log import EventLog
from ingest.streams import Clock, StreamWriter, despite_others


class DamagedPacks:
    """The damaged packs of one repository."""

    def __init__(self, log: EventLog, repository_id: UUID, clock: Clock) -> None:
        self._log = log
        self._stream = repository_id
        self._clock = clock

    def known(self) -> frozenset[bytes]:
        """The packs that were found damaged."""
        return frozenset(event.pack_id for event in self._log.stream(self._stream) if isinstance(event, PackDamaged))

    def record(self, pack_id: bytes, problem: str) -> None:
        """Record what is wrong with a pack, unless that it is damaged is known."""

        def attempt() -> None:
            if pack_id not in self.known():
                writer = StreamWriter(self._log, self._stream, self._clock)
                writer.append(PackDamaged, pack_id=pack_id, problem=problem)

        despite_others(attempt)

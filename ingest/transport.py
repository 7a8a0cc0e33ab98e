"""How a disk's bytes were to travel, and how they did: recorded before the first read, and whenever it turns out else.

Imports `adapters.port` and `catalog`. A fall-back is an event and a warning; it is never silent.
"""

from __future__ import annotations

from uuid import UUID

from adapters.port import BlockReader, DiskSnapshot
from catalog.domain.events import TransportChosen, TransportFellBack
from catalog.domain.facts import TransportPassedOver
from ingest.streams import StreamWriter


class TransportNote:
    """Records the choice for one disk when it is made; then `compare` what its reader says with it."""

    def __init__(self, events: StreamWriter, disk_id: UUID, frozen: DiskSnapshot) -> None:
        self._events = events
        self._disk_id = disk_id
        self._label = frozen.fact.label
        self._choice = choice = frozen.choice
        self._known = choice.kind if choice else ""
        self.warnings: list[str] = []
        if choice is not None:
            events.append(
                TransportChosen,
                disk_id=disk_id,
                kind=choice.kind,
                requested=choice.requested,
                rejected=tuple(TransportPassedOver(kind=other.kind, why=other.why) for other in choice.rejected),
            )

    def compare(self, reader: BlockReader) -> None:
        """Record it if the bytes travel otherwise than was last known. A source without a choice has none to miss."""
        if self._choice is None or reader.transport == self._known:
            return
        self._known = reader.transport
        self._events.append(TransportFellBack, disk_id=self._disk_id, chosen=self._choice.kind, actual=reader.transport)
        self.warnings.append(f"{self._label}: read over {reader.transport}, {self._choice.kind} was chosen")

"""The ledger's own stream, folded: which places there are, and what was published.

Imports `catalog.domain`, `catalog.log` and the places. Follows the log incrementally.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

from catalog.domain.events import Event
from catalog.domain.ids import ledger_stream
from catalog.domain.ledger import CheckpointPublished, LedgerPlaceAdded, LedgerPlaceRemoved
from catalog.ledger.places import DirectoryPlace, Place
from catalog.ledger.proofs import EMPTY_ROOT
from catalog.ledger.s3 import BucketPlace
from catalog.log import EventLog
from storage.errors import Corrupt

DIRECTORY, BUCKET = "directory", "s3"


@dataclass(slots=True)
class LedgerHistory:
    """What the stream says up to `version`. `kept` has the last size that each place took."""

    version: int = 0
    places: dict[str, LedgerPlaceAdded] = field(default_factory=dict)
    published: list[CheckpointPublished] = field(default_factory=list)
    kept: dict[str, int] = field(default_factory=dict)

    def follow(self, log: EventLog, repository_id: UUID) -> None:
        """Take in what is new."""
        for event in log.stream(ledger_stream(repository_id), self.version):
            self._apply(event)
            self.version = event.originator_version

    @property
    def newest(self) -> CheckpointPublished | None:
        """The last checkpoint that was published."""
        return self.published[-1] if self.published else None

    def anchor(self, size: int) -> tuple[int, bytes]:
        """The largest published size up to `size`, and its root."""
        at = bisect_right(self.published, size, key=lambda event: event.size)
        return (self.published[at - 1].size, self.published[at - 1].root) if at else (0, EMPTY_ROOT)

    def _apply(self, event: Event) -> None:
        if isinstance(event, LedgerPlaceAdded):
            self.places[event.name] = event
        elif isinstance(event, LedgerPlaceRemoved):
            self.places.pop(event.name, None)
            self.kept.pop(event.name, None)
        elif isinstance(event, CheckpointPublished):
            if self.published and event.size < self.published[-1].size:
                raise Corrupt("the ledger's checkpoints are out of order", code="ledger-order")
            self.published.append(event)
            self.kept.update(dict.fromkeys(event.places, event.size))
        else:
            raise Corrupt(f"{type(event).__name__} stands in the ledger's stream", code="ledger-order")


def open_place(kind: str, settings: dict[str, str], repository_id: UUID) -> Place:
    """The place that an event describes."""
    if kind == DIRECTORY:
        return DirectoryPlace(Path(settings["path"]), repository_id)
    return BucketPlace(settings, repository_id)

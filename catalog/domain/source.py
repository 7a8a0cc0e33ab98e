"""What is known of a source; pure, imports events and `storage.errors` of ours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from uuid import UUID

from catalog.domain.events import Event, SourceAdded, SourceRemoved
from catalog.domain.folding import check_next, fold_stream, unexpected
from storage.errors import Conflict


@dataclass(frozen=True, slots=True)
class SourceState:
    """A source and its settings, which hold references to secrets and no secret. A removed one can be added again."""

    source_id: UUID
    version: int
    name: str
    kind: str
    settings: Mapping[str, str]
    removed: bool = False

    @classmethod
    def fold(cls, events: Iterable[Event]) -> SourceState | None:
        """The source that `events` made, None if there are none; Corrupt when they contradict each other."""
        return fold_stream(cls.begin, events)

    @classmethod
    def begin(cls, event: Event) -> SourceState:
        """The source after its first event."""
        if not isinstance(event, SourceAdded):
            raise unexpected(event, "before SourceAdded")
        check_next(event, event.originator_id, 0)
        return cls(event.originator_id, 1, event.name, event.kind, event.settings)

    def apply(self, event: Event) -> SourceState:
        """The source after one more event; Conflict when it may not come next."""
        check_next(event, self.source_id, self.version)
        if isinstance(event, SourceRemoved):
            if self.removed:
                raise Conflict(f"source {self.name} was removed already", code="source-removed")
            return replace(self, version=self.version + 1, removed=True)
        if isinstance(event, SourceAdded):
            if not self.removed:
                raise Conflict(f"source {self.name} exists", code="source-exists")
            return SourceState(self.source_id, self.version + 1, event.name, event.kind, event.settings)
        raise unexpected(event, "in the stream of a source")

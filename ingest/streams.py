"""Writing one event stream: versions and the clock in one place.

Imports `catalog` only. Somebody else writing to a stream shows as a Conflict at save.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

from catalog.domain.events import Event, PackSealed
from catalog.domain.ids import pack_stream
from catalog.log import EventLog
from storage.errors import Conflict, HoldfastError
from storage.packs.writer import SealedPack

Clock = Callable[[], datetime]
E = TypeVar("E", bound=Event)
T = TypeVar("T")
ATTEMPTS = 5


def despite_others(attempt: Callable[[], T]) -> T:
    """Look and save again when somebody else wrote to the same stream in between; Conflict if it never ends."""
    for _ in range(ATTEMPTS - 1):
        try:
            return attempt()
        except Conflict as error:
            if error.code != "event-version":
                raise
    return attempt()


class StreamWriter:
    """Appends to one stream, starting behind what it holds."""

    def __init__(self, log: EventLog, stream: UUID, clock: Clock) -> None:
        self._log = log
        self._clock = clock
        self.stream = stream
        self._version = log.version(stream)

    def resync(self) -> None:
        """Forget events that were made and could not be saved."""
        self._version = self._log.version(self.stream)

    def make(self, event: type[E], /, **fields: Any) -> E:
        """Build the next event without saving it; save it with its siblings through `EventLog.save`."""
        self._version += 1
        return event(originator_id=self.stream, originator_version=self._version, recorded_at=self._clock(), **fields)

    def append(self, event: type[E], /, **fields: Any) -> E:
        """Build the next event and save it alone."""
        made = self.make(event, **fields)
        try:
            self._log.save(made)
        except HoldfastError:
            self._version -= 1
            raise
        return made


class PackRecorder:
    """Records sealed packs in the transaction of the rows that cite them."""

    def __init__(self, log: EventLog, repository_id: UUID, clock: Clock) -> None:
        self._log = log
        self._repository_id = repository_id
        self._clock = clock

    def save(self, packs: Sequence[SealedPack], run_id: UUID, *events: Event) -> None:
        """Save the packs not recorded yet and `events`, at once; another process may have adopted a pack of ours."""
        despite_others(lambda: self._log.save(*self._unrecorded(packs, run_id, adopted=False), *events))

    def unrecorded(self, packs: Collection[bytes]) -> list[bytes]:
        """Those of the packs that no event says were sealed."""
        streams = {pack: pack_stream(self._repository_id, pack) for pack in packs}
        known = self._log.known(list(streams.values()))
        return [pack for pack, stream in streams.items() if stream not in known]

    def adopt(self, packs: Sequence[SealedPack]) -> int:
        """Record packs that a dead run left durable but unrecorded; return how many there were."""
        adopted = 0
        for pack in packs:
            adopted += despite_others(partial(self._adopt, pack))
        return adopted

    def _adopt(self, pack: SealedPack) -> int:
        orphan = self._unrecorded([pack], None, adopted=True)
        self._log.save(*orphan)
        return len(orphan)

    def _unrecorded(self, packs: Sequence[SealedPack], run_id: UUID | None, *, adopted: bool) -> list[PackSealed]:
        return [
            PackSealed(
                originator_id=stream,
                originator_version=1,
                recorded_at=self._clock(),
                pack_id=pack.pack_id,
                size_bytes=pack.size_bytes,
                chunks=pack.chunks,
                body_hash=pack.body_hash,
                run_id=run_id,
                adopted=adopted,
            )
            for pack in packs
            if self._log.version(stream := pack_stream(self._repository_id, pack.pack_id)) == 0
        ]

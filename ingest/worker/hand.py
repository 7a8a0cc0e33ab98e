"""A task in hand: one attempt at it, from its start to its end, as events of its stream.

Imports `catalog.domain`, `catalog.log` and `ingest`. Whoever makes one holds the task's lock, so that nobody else
but a caller who wants the task stopped writes to the stream.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from catalog.domain.events import Event
from catalog.domain.requests import TaskProgressed, TaskStarted
from catalog.domain.task import TaskState
from catalog.log import EventLog
from ingest.progress import Progress
from ingest.streams import Clock, despite_others
from storage.errors import Conflict, HoldfastError

PROGRESS_EVERY_S = 2.0
LOOK_EVERY_S = 0.2


class TaskInHand:
    """One attempt. It is a `Progress`, and its `stop` is what flows ask."""

    def __init__(
        self,
        log: EventLog,
        state: TaskState,
        *,
        clock: Clock,
        monotonic: Callable[[], float],
        stop: Callable[[], bool],
    ) -> None:
        self._log = log
        self._clock = clock
        self._monotonic = monotonic
        self._stop = stop
        self._told = self._looked = float("-inf")
        self._what = ""
        self._done = self._total = 0
        self.state = state

    @property
    def task_id(self) -> UUID:
        """Which task it is."""
        return self.state.task_id

    @property
    def cancelled(self) -> bool:
        """Whether somebody asked to stop the task, as far as was seen."""
        return self.state.status == "cancelling"

    def start(self, worker: str) -> bool:
        """Record the attempt; False when the task was cancelled before that."""
        try:
            self.append(
                lambda state: [_next(state, self._clock, TaskStarted, worker=worker, attempt=state.attempts + 1)]
            )
        except Conflict:
            if self.state.open:
                raise
            return False
        return True

    def stop(self) -> bool:
        """Whether to stop, because somebody asked for that or because the worker goes."""
        if self._monotonic() - self._looked >= LOOK_EVERY_S:
            self._looked = self._monotonic()
            self._read_on()
        return self.cancelled or self._stop()

    @contextmanager
    def lane(self, name: str) -> Iterator[Progress]:
        """A task works on one machine after the other: what is recorded is how far the present one is."""
        yield self

    def disk(self, label: str, total_bytes: int) -> None:
        """Start counting anew."""
        self._what, self._done, self._total = label, 0, total_bytes
        self._tell()

    def advance(self, done_bytes: int) -> None:
        """Count, and record it now and then."""
        self._done += done_bytes
        self._tell()

    def end(self, kind: type[Event], /, beside: Callable[[], tuple[Event, ...]] = tuple, **fields: Any) -> None:
        """Record the end, in one transaction with the events of other streams that `beside` makes."""
        self.append(lambda state: [*beside(), _next(state, self._clock, kind, **fields)])

    def append(self, make: Callable[[TaskState], list[Event]]) -> None:
        """Save events, the last of which is the task's next; make them again when somebody wrote in between."""

        def attempt() -> None:
            self._read_on()
            events = make(self.state)
            after = self.state.apply(events[-1])
            self._log.save(*events)
            self.state = after

        despite_others(attempt)

    def _tell(self) -> None:
        if self._monotonic() - self._told < PROGRESS_EVERY_S:
            return
        self._told = self._monotonic()
        fields = {"what": self._what, "done_bytes": self._done, "total_bytes": self._total}
        try:
            self.append(lambda state: [_next(state, self._clock, TaskProgressed, **fields)])
        except HoldfastError:
            return  # a busy or full log must not fail the work; the next time comes soon

    def _read_on(self) -> None:
        if self._log.version(self.task_id) > self.state.version:
            for event in self._log.stream(self.task_id, self.state.version):
                self.state = self.state.apply(event)


def _next(state: TaskState, clock: Clock, kind: type[Event], /, **fields: Any) -> Event:
    return kind(originator_id=state.task_id, originator_version=state.version + 1, recorded_at=clock(), **fields)

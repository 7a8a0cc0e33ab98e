"""A task: work that somebody asked for, who does it, how far it is and how it ended.

Pure; imports events and `storage.errors` of ours. A task ends once. A later attempt takes over from a worker that
died, so attempts follow each other without a gap.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import msgspec

from catalog.domain.events import Event
from catalog.domain.folding import check_next, fold_stream, unexpected
from catalog.domain.requests import (
    REQUESTS,
    BackupRequested,
    RestoreRequested,
    SyntheticRequested,
    TaskCancelled,
    TaskCancelRequested,
    TaskFailed,
    TaskProgressed,
    TaskRequest,
    TaskStarted,
    TaskSucceeded,
    VerificationRequested,
)
from storage.errors import Conflict

TaskKind = Literal["backup", "synthetic", "restore", "verification"]
TaskStatus = Literal["requested", "running", "succeeded", "partial", "failed", "cancelling", "cancelled"]
OPEN: frozenset[TaskStatus] = frozenset({"requested", "running", "cancelling"})
KINDS: Mapping[type[TaskRequest], TaskKind] = {
    BackupRequested: "backup",
    SyntheticRequested: "synthetic",
    RestoreRequested: "restore",
    VerificationRequested: "verification",
}


@dataclass(frozen=True, slots=True)
class TaskState:
    """One task. `worker` holds it, or held it last; `what` is in work, `done_bytes` of `total_bytes` of it are done.

    `restore_points` are those it made or was about, once it ended well; `failure` is (kind, code, why).
    """

    task_id: UUID
    version: int
    request: TaskRequest
    status: TaskStatus = "requested"
    attempts: int = 0
    worker: str | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    what: str = ""
    done_bytes: int = 0
    total_bytes: int = 0
    cancelled_by: str | None = None
    restore_points: tuple[UUID, ...] = ()
    detail: str = ""
    failure: tuple[str, str, str] | None = None

    @classmethod
    def fold(cls, events: Iterable[Event]) -> TaskState | None:
        """The task that `events` made, None if there are none; Corrupt when they contradict each other."""
        return fold_stream(cls.begin, events)

    @classmethod
    def begin(cls, event: Event) -> TaskState:
        """The task after its first event."""
        if not isinstance(event, REQUESTS):
            raise unexpected(event, "before a request")
        check_next(event, event.originator_id, 0)
        return cls(event.originator_id, 1, event)

    def apply(self, event: Event) -> TaskState:
        """The task after one more event; Conflict when it may not come next."""
        check_next(event, self.task_id, self.version)
        step = STEPS.get(type(event))
        if step is None:
            raise unexpected(event, "in the stream of a task")
        if not self.open:
            raise unexpected(event, "after the end of a task")
        return replace(step(self, event), version=event.originator_version)

    @property
    def open(self) -> bool:
        """Whether it has not ended."""
        return self.status in OPEN

    @property
    def kind(self) -> TaskKind:
        """What was asked for."""
        return KINDS[type(self.request)]

    @property
    def machine_id(self) -> UUID | None:
        """The machine it is about, None for the backup of a whole source."""
        machine: UUID | None = getattr(self.request, "machine_id", None)
        return machine

    @property
    def requested_at(self) -> datetime:
        """When it was asked for."""
        return self.request.recorded_at


def same_request(one: TaskRequest, other: TaskRequest) -> bool:
    """Whether two requests ask for the same, whenever they came."""
    moved = msgspec.structs.replace(other, originator_id=one.originator_id, recorded_at=one.recorded_at)
    return type(one) is type(other) and one == moved


def _started(state: TaskState, event: TaskStarted) -> TaskState:
    if event.attempt != state.attempts + 1:
        raise Conflict(f"attempt {event.attempt} does not follow {state.attempts}", code="task-attempt")
    status: TaskStatus = "cancelling" if state.status == "cancelling" else "running"
    begun = state.started_at or event.recorded_at
    return replace(
        state,
        status=status,
        attempts=event.attempt,
        worker=event.worker,
        started_at=begun,
        what="",
        done_bytes=0,
        total_bytes=0,
    )


def _progressed(state: TaskState, event: TaskProgressed) -> TaskState:
    _check_taken(state, event)
    return replace(state, what=event.what, done_bytes=event.done_bytes, total_bytes=event.total_bytes)


def _succeeded(state: TaskState, event: TaskSucceeded) -> TaskState:
    _check_taken(state, event)
    return replace(
        state,
        status="partial" if event.partial else "succeeded",
        restore_points=event.restore_points,
        detail=event.detail,
        ended_at=event.recorded_at,
    )


def _failed(state: TaskState, event: TaskFailed) -> TaskState:
    _check_taken(state, event)
    return replace(state, status="failed", failure=(event.kind, event.code, event.why), ended_at=event.recorded_at)


def _cancel_requested(state: TaskState, event: TaskCancelRequested) -> TaskState:
    if state.status == "cancelling":
        raise unexpected(event, "twice")
    return replace(state, status="cancelling", cancelled_by=event.requested_by)


def _cancelled(state: TaskState, event: TaskCancelled) -> TaskState:
    if state.status != "cancelling":
        raise unexpected(event, "unless somebody asked for it")
    return replace(state, status="cancelled", ended_at=event.recorded_at)


def _check_taken(state: TaskState, event: Event) -> None:
    if state.attempts == 0:
        raise unexpected(event, "before a worker has the task")


STEPS: Mapping[type[Event], Callable[[TaskState, Any], TaskState]] = {
    TaskStarted: _started,
    TaskProgressed: _progressed,
    TaskSucceeded: _succeeded,
    TaskFailed: _failed,
    TaskCancelRequested: _cancel_requested,
    TaskCancelled: _cancelled,
}
TASK_EVENTS: tuple[type[Event], ...] = (*REQUESTS, *STEPS)

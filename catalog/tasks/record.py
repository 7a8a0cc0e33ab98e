"""A task as it is shown, in JSON of the API and of the command line alike. Imports `catalog.domain`."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import msgspec

from catalog.domain.requests import BackupRequested, RestoreRequested, SyntheticRequested, VerificationRequested
from catalog.domain.task import TaskKind, TaskState, TaskStatus


class TaskFailure(msgspec.Struct, frozen=True, kw_only=True):
    """Why a task ended without what was asked for: one of the seven kinds, the case's code, and the text."""

    kind: str
    code: str
    why: str


class TaskRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One task: what was asked for, how far it is, and how it ended. Sizes in bytes.

    `restore_points` are those it made or was about, once it ended well. `partial` is success with a gap, such as a
    disk or machine left out, or damage found by a verification; `detail` says which.
    """

    task_id: UUID
    kind: TaskKind
    status: TaskStatus
    requested_by: str
    requested_at: datetime
    source: str | None
    machine_id: UUID | None
    full: bool | None
    restore_point_id: UUID | None
    disk_id: UUID | None
    format: str | None
    to: str | None
    level: str | None
    attempts: int
    worker: str | None
    started_at: datetime | None
    ended_at: datetime | None
    what: str
    done_bytes: int
    total_bytes: int
    cancelled_by: str | None
    restore_points: tuple[UUID, ...]
    detail: str
    failure: TaskFailure | None


def task_record(state: TaskState) -> TaskRecord:
    """A task's record."""
    request, failure = state.request, state.failure
    backup = request if isinstance(request, BackupRequested) else None
    restore = request if isinstance(request, RestoreRequested) else None
    of_point = request if isinstance(request, SyntheticRequested | RestoreRequested | VerificationRequested) else None
    return TaskRecord(
        task_id=state.task_id,
        kind=state.kind,
        status=state.status,
        requested_by=request.requested_by,
        requested_at=state.requested_at,
        source=backup.source if backup else None,
        machine_id=state.machine_id,
        full=backup.full if backup else None,
        restore_point_id=of_point.restore_point_id if of_point else None,
        disk_id=restore.disk_id if restore else None,
        format=restore.format if restore else None,
        to=restore.to if restore else None,
        level=request.level if isinstance(request, VerificationRequested) else None,
        attempts=state.attempts,
        worker=state.worker,
        started_at=state.started_at,
        ended_at=state.ended_at,
        what=state.what,
        done_bytes=state.done_bytes,
        total_bytes=state.total_bytes,
        cancelled_by=state.cancelled_by,
        restore_points=state.restore_points,
        detail=state.detail,
        failure=TaskFailure(kind=failure[0], code=failure[1], why=failure[2]) if failure else None,
    )

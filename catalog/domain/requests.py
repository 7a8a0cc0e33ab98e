"""Work that somebody asked for: requests, and what became of them. Each task is a stream of its own.

Pure; the rule of `events` holds here too. The first event of a task is a request; whoever saves `TaskStarted` with
the next version has the task, and a task ends once.
"""

from __future__ import annotations

from typing import Literal
from uuid import UUID

from catalog.domain.events import Event


class TaskRequest(Event, frozen=True, kw_only=True):
    """What all requests carry: who asked, and the key under which the same request is the same task."""

    requested_by: str
    idempotency_key: str | None


class BackupRequested(TaskRequest, frozen=True, kw_only=True):
    """Back up a source, or one machine of it."""

    source: str
    machine_id: UUID | None
    full: bool


class SyntheticRequested(TaskRequest, frozen=True, kw_only=True):
    """Make a synthetic full of a restore point."""

    machine_id: UUID
    restore_point_id: UUID


class RestoreRequested(TaskRequest, frozen=True, kw_only=True):
    """Write disks of a restore point to `to`, a name below the folder that the worker restores to."""

    machine_id: UUID
    restore_point_id: UUID
    disk_id: UUID | None
    format: Literal["raw", "qcow2", "vmdk", "vhdx"]
    to: str


class VerificationRequested(TaskRequest, frozen=True, kw_only=True):
    """Read a restore point back."""

    machine_id: UUID
    restore_point_id: UUID
    level: Literal["stored", "content"]


class TaskStarted(Event, frozen=True, kw_only=True):
    """A worker has the task; attempts count from 1, a later one takes over from a worker that died."""

    worker: str
    attempt: int


class TaskProgressed(Event, frozen=True, kw_only=True):
    """How far the task is; recorded every few seconds at most."""

    what: str
    done_bytes: int
    total_bytes: int


class TaskSucceeded(Event, frozen=True, kw_only=True):
    """The task is done. `restore_points`: those it made or was about; `detail` is for people."""

    restore_points: tuple[UUID, ...]
    partial: bool
    detail: str


class TaskFailed(Event, frozen=True, kw_only=True):
    """The task ended without what was asked for."""

    kind: str
    code: str
    why: str


class TaskCancelRequested(Event, frozen=True, kw_only=True):
    """Somebody asked to stop the task."""

    requested_by: str


class TaskCancelled(Event, frozen=True, kw_only=True):
    """The task was stopped because somebody asked."""


REQUESTS: tuple[type[TaskRequest], ...] = (
    BackupRequested,
    SyntheticRequested,
    RestoreRequested,
    VerificationRequested,
)

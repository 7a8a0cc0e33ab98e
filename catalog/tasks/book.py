"""Asking for work, looking at it, and stopping it. The one door through which requests reach the log.

Imports `catalog` and `storage.errors`. A request is recorded only when its caller may ask for it, and what it names
exists in the caller's scope; what a scope does not admit is not found. Safe to use from several threads.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from typing import Any, Literal, NoReturn
from uuid import UUID

from catalog.access.caller import Caller, Permission
from catalog.domain import ids
from catalog.domain.machine import MachineState, RestorePoint
from catalog.domain.requests import (
    BackupRequested,
    RestoreRequested,
    SyntheticRequested,
    TaskCancelled,
    TaskCancelRequested,
    TaskRequest,
    VerificationRequested,
)
from catalog.domain.source import SourceState
from catalog.domain.task import TaskKind, TaskState, TaskStatus, same_request
from catalog.log import EventLog
from catalog.queries.directory import LogDirectory
from catalog.tasks.directory import TaskDirectory, TaskPage
from catalog.tasks.names import check_key, check_target
from storage.errors import Conflict, Invalid, Limit, NotFound

MAX_OPEN = 1000
MAX_PAGE = 1000
ATTEMPTS = 5
NEEDS: Mapping[TaskKind, Permission] = {
    "backup": Permission.BACKUP,
    "synthetic": Permission.BACKUP,
    "restore": Permission.RESTORE,
    "verification": Permission.VERIFY,
}


class TaskBook:
    """All requests of a repository."""

    def __init__(
        self, log: EventLog, repository_id: UUID, clock: Callable[[], datetime], new_id: Callable[[], UUID]
    ) -> None:
        self._log = log
        self._repository_id = repository_id
        self._clock = clock
        self._new_id = new_id
        self._tasks = TaskDirectory(log)
        self._machines = LogDirectory(log)
        self._machines_lock = threading.Lock()

    def request_backup(
        self,
        caller: Caller,
        *,
        source: str | None = None,
        machine_id: UUID | None = None,
        full: bool = False,
        idempotency_key: str | None = None,
    ) -> TaskState:
        """Ask for a backup of a source, or of one machine. Raises Denied, NotFound, Invalid, Conflict, Limit."""
        caller.require(Permission.BACKUP)
        if machine_id is not None:
            machine = self._machine(caller, machine_id)
            if source not in (None, machine.source):
                _no_machine(machine_id)
            source = machine.source
        elif source is None:
            raise Invalid("a backup is of a source, or of a machine", code="backup-of-nothing")
        elif not caller.scope.everything:
            _no_source(source)
        fields = {"source": source, "machine_id": machine_id, "full": full}
        return self._request(caller, idempotency_key, BackupRequested, fields, lambda: self._check_source(source))

    def request_synthetic(
        self, caller: Caller, *, restore_point_id: UUID, idempotency_key: str | None = None
    ) -> TaskState:
        """Ask for a synthetic full of a restore point. Raises as `request_backup` does."""
        caller.require(Permission.BACKUP)
        machine = self._machine_of(caller, restore_point_id)
        fields = {"machine_id": machine.machine_id, "restore_point_id": restore_point_id}
        return self._request(
            caller, idempotency_key, SyntheticRequested, fields, lambda: machine.restore_point(restore_point_id)
        )

    def request_restore(
        self,
        caller: Caller,
        *,
        restore_point_id: UUID,
        to: str,
        disk_id: UUID | None = None,
        image_format: Literal["raw", "qcow2", "vmdk", "vhdx"] = "raw",
        idempotency_key: str | None = None,
    ) -> TaskState:
        """Ask for the disks of a restore point, or one, in a new directory `to`. Raises as `request_backup` does."""
        caller.require(Permission.RESTORE)
        machine = self._machine_of(caller, restore_point_id)
        fields = {
            "machine_id": machine.machine_id,
            "restore_point_id": restore_point_id,
            "disk_id": disk_id,
            "format": image_format,
            "to": check_target(to),
        }
        return self._request(
            caller,
            idempotency_key,
            RestoreRequested,
            fields,
            lambda: _check_disk(machine.restore_point(restore_point_id), disk_id),
        )

    def request_verification(
        self,
        caller: Caller,
        *,
        restore_point_id: UUID,
        level: Literal["stored", "content"] = "content",
        idempotency_key: str | None = None,
    ) -> TaskState:
        """Ask for a restore point to be read back. Raises as `request_backup` does."""
        caller.require(Permission.VERIFY)
        machine = self._machine_of(caller, restore_point_id)
        fields = {"machine_id": machine.machine_id, "restore_point_id": restore_point_id, "level": level}
        return self._request(
            caller, idempotency_key, VerificationRequested, fields, lambda: machine.restore_point(restore_point_id)
        )

    def task(self, caller: Caller, task_id: UUID) -> TaskState:
        """One task. Raises Denied, NotFound."""
        caller.require(Permission.READ)
        state = self._tasks.state(task_id) or self._old_task(task_id)
        if state is None or not self._tasks.admits(caller.scope, state):
            raise NotFound(f"there is no task {task_id}", code="task-unknown", hint="list them first")
        return state

    def later(self, caller: Caller, state: TaskState) -> list[TaskState]:
        """The states that a task went through behind `state`, in order. Raises as `task` does."""
        states: list[TaskState] = []
        if self.task(caller, state.task_id).version > state.version:
            for event in self._log.stream(state.task_id, state.version):
                state = state.apply(event)
                states.append(state)
        return states

    def tasks(
        self,
        caller: Caller,
        *,
        statuses: Collection[TaskStatus] | None = None,
        limit: int = 100,
        before: int | None = None,
    ) -> TaskPage:
        """Tasks that the caller may know of, the newest first. Raises Denied."""
        caller.require(Permission.READ)
        return self._tasks.page(caller.scope, statuses=statuses, limit=max(1, min(limit, MAX_PAGE)), before=before)

    def cancel(self, caller: Caller, task_id: UUID) -> TaskState:
        """Stop a task; whoever may ask for its kind of work may. Raises Denied, NotFound, Conflict when it ended."""
        for left in reversed(range(ATTEMPTS)):
            state = self.task(caller, task_id)
            caller.require(NEEDS[state.kind])
            if state.status in ("cancelling", "cancelled"):
                return state
            if not state.open:
                raise Conflict(f"task {task_id} has ended: {state.status}", code="task-ended")
            try:
                return self._cancel(caller, state)
            except Conflict as error:
                if error.code != "event-version" or left == 0:
                    raise
        raise AssertionError("unreachable")

    def _cancel(self, caller: Caller, state: TaskState) -> TaskState:
        """Ask its worker to stop; a task that no worker has yet ends here."""
        about: dict[str, Any] = {"originator_id": state.task_id, "recorded_at": self._clock()}
        asked = TaskCancelRequested(**about, originator_version=state.version + 1, requested_by=caller.name)
        if state.attempts:
            self._log.save(asked)
            return state.apply(asked)
        ended = TaskCancelled(**about, originator_version=state.version + 2)
        self._log.save(asked, ended)
        return state.apply(asked).apply(ended)

    def _request(
        self,
        caller: Caller,
        key: str | None,
        kind: type[TaskRequest],
        fields: Mapping[str, object],
        check: Callable[[], object],
    ) -> TaskState:
        """Record a request, or find the one that came with the same key. `check` says whether it can be done now."""
        task_id = ids.task_id(self._repository_id, caller.name, check_key(key)) if key is not None else self._new_id()
        asked = kind(
            originator_id=task_id,
            originator_version=1,
            recorded_at=self._clock(),
            requested_by=caller.name,
            idempotency_key=key,
            **fields,
        )
        if (known := self._known(asked)) is not None:
            return known
        check()
        if len(self._tasks.open_tasks()) >= MAX_OPEN:
            raise Limit(f"{MAX_OPEN} tasks wait already", code="tasks-open", hint="is a worker running?")
        try:
            self._log.save(asked)
        except Conflict:
            if (known := self._known(asked)) is None:
                raise
            return known
        return TaskState.begin(asked)

    def _known(self, asked: TaskRequest) -> TaskState | None:
        known = TaskState.fold(self._log.stream(asked.originator_id))
        if known is not None and not same_request(known.request, asked):
            raise Conflict(
                "another request came with this idempotency key",
                code="idempotency-mismatch",
                why=f"it was a request for a {known.kind}",
                hint="use a new key for each request",
            )
        return known

    def _old_task(self, task_id: UUID) -> TaskState | None:
        """A task from its stream; streams of other things begin otherwise, and are not tasks."""
        begins = next(self._log.stream(task_id), None)
        return TaskState.fold(self._log.stream(task_id)) if isinstance(begins, TaskRequest) else None

    def _machine(self, caller: Caller, machine_id: UUID) -> MachineState:
        machine = None
        if self._tasks.admits_machine(caller.scope, machine_id):
            machine = self._machines.machine(machine_id)
        return machine or _no_machine(machine_id)

    def _machine_of(self, caller: Caller, restore_point_id: UUID) -> MachineState:
        with self._machines_lock:
            machine_id = self._machines.machine_of(restore_point_id)
        if machine_id is None or not self._tasks.admits_machine(caller.scope, machine_id):
            raise NotFound(f"there is no restore point {restore_point_id}", code="restore-point-unknown")
        return self._machine(caller, machine_id)

    def _check_source(self, name: str) -> None:
        state = SourceState.fold(self._log.stream(ids.source_id(self._repository_id, name)))
        if state is None or state.removed:
            _no_source(name)


def _no_source(name: str) -> NoReturn:
    raise NotFound(f"no source {name}", code="source-unknown", hint="holdfast source list")


def _no_machine(machine_id: UUID) -> NoReturn:
    raise NotFound(f"there is no machine {machine_id}", code="machine-unknown")


def _check_disk(point: RestorePoint, disk_id: UUID | None) -> None:
    if disk_id is not None and all(disk.disk_id != disk_id for disk in point.disks):
        raise NotFound(f"the restore point has no disk {disk_id}", code="disk-unknown")

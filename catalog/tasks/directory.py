"""All tasks, held in memory and kept up with the log by reading only the events of tasks and of machines' names.

Imports `catalog.domain`, `catalog.log` and `catalog.access`. Safe to use from several threads. Of the tasks that
ended the newest `MAX_ENDED` are kept: an older one is read from its stream.
"""

from __future__ import annotations

import threading
from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

from catalog.access.caller import Scope
from catalog.domain.events import Event, MachineSeen
from catalog.domain.requests import REQUESTS
from catalog.domain.task import TASK_EVENTS, TaskState, TaskStatus
from catalog.log import EventLog
from storage.errors import Conflict, Corrupt

MAX_ENDED = 10_000


@dataclass(frozen=True, slots=True)
class ListedTask:
    """A task and the position of its request, by which tasks are in order."""

    position: int
    state: TaskState


@dataclass(frozen=True, slots=True)
class TaskPage:
    """Tasks, the newest first. `next` is where the page behind begins, None at the end; `position` is the log's."""

    rows: tuple[ListedTask, ...]
    next: int | None
    position: int


class TaskDirectory:
    """Which tasks there are."""

    def __init__(self, log: EventLog, *, max_ended: int = MAX_ENDED) -> None:
        self._log = log
        self._max_ended = max_ended
        self._lock = threading.Lock()
        self._position = 0
        self._tasks: dict[UUID, ListedTask] = {}
        self._ended: dict[UUID, None] = {}
        self._names: dict[UUID, tuple[str, str]] = {}

    def open_tasks(self) -> list[TaskState]:
        """Those that have not ended, the oldest first."""
        with self._lock:
            self._read_on()
            return [self._tasks[task_id].state for task_id in self._tasks if task_id not in self._ended]

    def state(self, task_id: UUID) -> TaskState | None:
        """A task; None when there is none, or when it ended so long ago that it is not kept."""
        with self._lock:
            self._read_on()
            listed = self._tasks.get(task_id)
            return None if listed is None else listed.state

    def page(
        self, scope: Scope, *, statuses: Collection[TaskStatus] | None, limit: int, before: int | None
    ) -> TaskPage:
        """At most `limit` tasks of a scope that were asked for before position `before`, the newest first."""
        with self._lock:
            self._read_on()
            found: list[ListedTask] = []
            for listed in reversed(self._tasks.values()):
                if before is not None and listed.position >= before:
                    continue
                if (statuses is None or listed.state.status in statuses) and self._admits(scope, listed.state):
                    if len(found) == limit:
                        return TaskPage(tuple(found), found[-1].position, self._position)
                    found.append(listed)
            return TaskPage(tuple(found), None, self._position)

    def admits(self, scope: Scope, state: TaskState) -> bool:
        """Whether a scope may know of a task: its machine is in it, by the name it has now."""
        with self._lock:
            self._read_on()
            return self._admits(scope, state)

    def admits_machine(self, scope: Scope, machine_id: UUID) -> bool:
        """Whether a machine was ever seen and is in the scope."""
        with self._lock:
            self._read_on()
            return (name := self._names.get(machine_id)) is not None and scope.admits(*name)

    def _admits(self, scope: Scope, state: TaskState) -> bool:
        if scope.everything:
            return True
        name = self._names.get(state.machine_id) if state.machine_id is not None else None
        return name is not None and scope.admits(*name)

    def _read_on(self) -> None:
        end = self._log.position()
        for recorded in self._log.follow_only((*TASK_EVENTS, MachineSeen), self._position):
            event = recorded.event
            if isinstance(event, MachineSeen):
                self._names[event.originator_id] = (event.source, event.name)
            else:
                self._follow(recorded.position, event)
            self._position = recorded.position
        self._position = max(self._position, end)

    def _follow(self, position: int, event: Event) -> None:
        known = self._tasks.get(event.originator_id)
        try:
            if isinstance(event, REQUESTS):
                self._tasks[event.originator_id] = ListedTask(position, TaskState.begin(event))
            elif known is not None:
                self._keep(ListedTask(known.position, known.state.apply(event)))
        except Conflict as error:
            raise Corrupt(
                f"task {event.originator_id} contradicts itself at version {event.originator_version}",
                code=error.code,
                why=str(error),
                hint="verify the event log",
            ) from error

    def _keep(self, listed: ListedTask) -> None:
        task_id = listed.state.task_id
        self._tasks[task_id] = listed
        if listed.state.open:
            return
        self._ended[task_id] = None
        if len(self._ended) > self._max_ended:
            oldest = next(iter(self._ended))
            del self._ended[oldest], self._tasks[oldest]

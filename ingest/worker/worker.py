"""A worker: looks for tasks that nobody has, takes one at a time, and does it.

Imports `catalog` and `ingest`. A task is held by a file lock that dies with its process, and taken by saving
`TaskStarted` with the stream's next version: so one worker at most is at a task.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from adapters.errors import AdapterError
from catalog.domain.requests import TaskCancelled, TaskFailed, TaskSucceeded
from catalog.domain.task import TaskState
from catalog.home import Home
from catalog.log import EventLog
from catalog.tasks import TaskDirectory
from ingest.locks import exclusive
from ingest.signals import Interrupted
from ingest.streams import Clock
from ingest.wiring import Services, opened, utc_now
from ingest.worker.hand import TaskInHand
from ingest.worker.jobs import JOBS, Bench, Done
from storage.errors import Conflict, HoldfastError, Limit
from storage.files import storage_error

LOOK_EVERY_S = 0.5
MAX_ATTEMPTS = 20
"""After so many a task fails: it may be what kills its workers."""
LOCKS = 256
"""Lock files are kept for ever, so tasks share them; two tasks of one lock follow one another."""

logger = logging.getLogger(__name__)
Tell = Callable[[TaskState], None]


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """`name` stands in the record; restores go below `restore_to`, or are refused."""

    name: str
    restore_to: Path | None = None


class Worker:
    """One process's worker. `tell` hears of each task that ended; `housekeeping` is done every round."""

    def __init__(
        self,
        home: Home,
        settings: WorkerSettings,
        *,
        tell: Tell,
        warn: Callable[[str], None],
        housekeeping: Sequence[Callable[[], None]] = (),
        clock: Clock = utc_now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._home = home
        self._settings = settings
        self._tell = tell
        self._warn = warn
        self._housekeeping = housekeeping
        self._clock = clock
        self._monotonic = monotonic
        self._last_warning = ""

    def run(self, stop: Callable[[], bool], *, once: bool = False) -> None:
        """Work until it is time to stop. `once`: until nothing is left to take; then what fails is raised."""
        pause = threading.Event()
        with closing(EventLog.open(self._home.event_file)) as log:
            tasks = TaskDirectory(log)
            while not stop():
                worked = False
                try:
                    worked = self._round(tasks, stop)
                except HoldfastError as error:
                    if once:
                        raise
                    self._warn_once(str(error))
                if once and not worked:
                    return
                if not worked:
                    pause.wait(LOOK_EVERY_S)

    def _round(self, tasks: TaskDirectory, stop: Callable[[], bool]) -> bool:
        """Do the tasks that are open and free, then the housekeeping; whether there was anything to do."""
        worked = [self._attempt(state, stop) for state in tasks.open_tasks() if not stop()]
        for work in self._housekeeping:
            work()
        return any(worked)

    def _warn_once(self, warning: str) -> None:
        if warning != self._last_warning:
            self._warn(warning)
            self._last_warning = warning

    def _attempt(self, state: TaskState, stop: Callable[[], bool]) -> bool:
        """Take a task and do it; False when somebody else has it."""
        try:
            with self._held(state.task_id), opened(self._home, clock=self._clock) as services:
                return self._do(services, state.task_id, stop)
        except Conflict as error:
            if error.code != "busy":
                raise
            return False

    def _held(self, task_id: UUID) -> AbstractContextManager[None]:
        return exclusive(self._home.lock_dir, f"task-{task_id.int % LOCKS:03d}", busy="another worker has the task")

    def _do(self, services: Services, task_id: UUID, stop: Callable[[], bool]) -> bool:
        state = TaskState.fold(services.log.stream(task_id))
        if state is None or not state.open:
            return False
        hand = TaskInHand(services.log, state, clock=self._clock, monotonic=self._monotonic, stop=stop)
        if not hand.start(self._settings.name):
            return False
        self._work(Bench(services, self._settings.restore_to), hand)
        trouble = services.catalog.index_trouble()
        if trouble is not None:
            self._warn_once(f"the index does not follow: {trouble}")
        if not hand.state.open:
            self._tell(hand.state)
        return True

    def _work(self, bench: Bench, hand: TaskInHand) -> None:
        """Do a task to its end, or leave it to the next worker when this one is asked to go."""
        try:
            if hand.state.attempts > MAX_ATTEMPTS:
                raise Limit(f"{MAX_ATTEMPTS} attempts did not end", code="task-attempts", why="each worker died in it")
            _succeed(hand, JOBS[type(hand.state.request)](bench, hand, hand.state.request))
        except Interrupted:
            if hand.cancelled:
                hand.end(TaskCancelled)
        except (HoldfastError, AdapterError) as error:
            hand.end(TaskFailed, kind=error.kind, code=error.code, why=str(error))
        except OSError as error:
            failure = storage_error(error, "the work could not go on")
            hand.end(TaskFailed, kind=failure.kind, code=failure.code, why=str(failure))
        except Exception as error:
            logger.exception("task %s met a fault", hand.task_id)
            hand.end(TaskFailed, kind="corrupt", code="internal", why=f"a fault of ours: {type(error).__name__}")


def _succeed(hand: TaskInHand, done: Done) -> None:
    hand.end(
        TaskSucceeded,
        done.beside,
        restore_points=done.restore_points,
        partial=done.partial,
        detail=done.detail,
    )

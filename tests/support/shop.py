"""A repository with one machine, whose work is asked for by a caller and done by workers."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from random import Random
from typing import Any
from uuid import UUID, uuid4

from catalog.access.caller import EVERYTHING, Caller, Role
from catalog.domain import events as ev
from catalog.domain.task import TaskState
from catalog.log import EventLog
from catalog.tasks import TaskBook
from ingest.signals import never
from ingest.worker import Worker
from ingest.worker.worker import WorkerSettings
from tests.support.lab import MIB, Lab, make_image, pieces

BEA = Caller("bea", "token", Role.ADMIN, EVERYTHING)

SIZE = 4 * MIB


class Shop:
    """A repository with one machine, and both sides of the counter."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.image = lab.images / "vm.raw"
        make_image(self.image, SIZE, list(pieces(Random(3), [(0, 2 * MIB)])))
        lab.add_images()
        self.folder = lab.root / "restored"
        self.folder.mkdir()
        self.log = EventLog.open(lab.home.event_file)
        self.repository_id = lab.home.read_config().repository_id
        self.book = TaskBook(self.log, self.repository_id, lambda: datetime.now(UTC), uuid4)
        self.told: list[TaskState] = []
        self.warnings: list[str] = []

    def worker(self, name: str = "w", restores: bool = True, **options: Any) -> Worker:
        settings = WorkerSettings(name, self.folder if restores else None)
        return Worker(self.lab.home, settings, tell=self.told.append, warn=self.warnings.append, **options)

    def work(self, stop: Callable[[], bool] = never, **options: Any) -> None:
        self.worker(**options).run(stop, once=True)

    def state(self, task: TaskState) -> TaskState:
        return self.book.task(BEA, task.task_id)

    def backup(self) -> UUID:
        return UUID(self.lab.backup_one()["restore_point"])

    def machine_id(self) -> UUID:
        return self.lab.of_type(ev.MachineSeen)[0].originator_id

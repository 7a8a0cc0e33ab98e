"""A log with two machines at one source, each with a restore point, and a task book over it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

import pytest

from catalog.access.caller import EVERYTHING, Caller, Role, Scope
from catalog.domain import events as ev
from catalog.domain import ids
from catalog.domain.facts import DiskPoint
from catalog.log import EventLog
from catalog.tasks import TaskBook

REPOSITORY = UUID("0b5c6f0a-51cc-4d9c-b8b1-6d2f3e0a0009")
AT = datetime(2026, 3, 1, tzinfo=UTC)
SOURCE = ids.source_id(REPOSITORY, "lab")
WEB, DB = ids.machine_id(SOURCE, "web"), ids.machine_id(SOURCE, "db")
WEB_POINT, DB_POINT = UUID(int=11), UUID(int=12)
WEB_DISK = ids.disk_id(WEB, "sda")
ADMIN = Caller("root", "local", Role.ADMIN, EVERYTHING)
WEB_OPERATOR = Caller("op", "token", Role.OPERATOR, Scope(("lab/web",)))
WEB_RESTORER = Caller("re", "token", Role.RESTORER, Scope(("lab/web",)))
AUDITOR = Caller("au", "oidc", Role.AUDITOR, EVERYTHING)


def event(kind: type[ev.Event], stream: UUID, version: int, /, **fields: Any) -> ev.Event:
    """An event."""
    return kind(originator_id=stream, originator_version=version, recorded_at=AT, **fields)


def _disk(machine: UUID, run_id: UUID) -> DiskPoint:
    return DiskPoint(
        disk_id=ids.disk_id(machine, "sda"),
        label="sda",
        identity="",
        seq=1,
        parent_seq=None,
        run_id=run_id,
        level="full",
        cause="first-backup",
        size_bytes=0,
        chunk_bytes=65_536,
        changed_bytes=0,
        read_bytes=0,
        new_chunks=0,
        stored_bytes=0,
        chunk_rows=0,
        zero_blocks=0,
        extent_rows=0,
        batches=0,
        merkle_root=bytes(32),
        base_token=None,
    )


def machine_events(name: str, point: UUID) -> list[ev.Event]:
    """A machine that was seen and backed up once."""
    machine, run_id = ids.machine_id(SOURCE, name), UUID(int=point.int + 100)
    return [
        event(ev.MachineSeen, machine, 1, source_id=SOURCE, source="lab", key=name, name=name, disks=()),
        event(ev.RunOpened, machine, 2, run_id=run_id, label="x"),
        event(
            ev.RestorePointCommitted,
            machine,
            3,
            restore_point_id=point,
            run_id=run_id,
            source="lab",
            machine=name,
            origin="backup",
            result="complete",
            consistency="crash",
            disks=(_disk(machine, run_id),),
        ),
    ]


@dataclass
class Desk:
    """A log and the book over it."""

    log: EventLog
    book: TaskBook

    def another_book(self) -> TaskBook:
        """The same book as another process has it."""
        return make_book(self.log, seed=2)


def make_book(log: EventLog, seed: int = 1) -> TaskBook:
    """A book with identifiers of its own."""
    random = Random(seed)
    return TaskBook(log, REPOSITORY, lambda: AT, lambda: UUID(int=random.getrandbits(128)))


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """A source `lab` with the machines web and db."""
    with closing(EventLog.create(tmp_path / "events.sqlite")) as log:
        log.save(event(ev.SourceAdded, SOURCE, 1, name="lab", kind="image", settings={"path": "/x"}))
        log.save(*machine_events("web", WEB_POINT), *machine_events("db", DB_POINT))
        yield Desk(log, make_book(log))

"""As of a log position: the views show what the catalog knew then, at every position there is."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import duckdb
import numpy as np
import pyarrow as pa

from catalog.domain.events import (
    RestorePointDeleted,
    RestorePointVerified,
    SnapshotCreated,
    SnapshotReleased,
    SnapshotRequested,
)
from catalog.domain.facts import DiskLeftOut
from catalog.log import EventLog, Recorded
from catalog.projections import TABLES, Projector
from catalog.sql.views import VIEWS, create_statements
from storage.chunks.rows import ZeroRuns
from storage.lake import Lake
from tests.support.recorded import Author, Change, rows_at


@dataclass
class LogUpTo:
    """A log as it was at a position, as far as a projector asks."""

    log: EventLog
    end: int

    def position(self) -> int:
        """Where it ended."""
        return self.end

    def follow(self, after: int) -> Iterator[Recorded]:
        """The events that were there."""
        return (recorded for recorded in self.log.follow(after) if recorded.position <= self.end)

    def stream(self, originator_id: UUID, after_version: int = 0) -> Iterator[Any]:
        """Any stream; rows are read behind the event that seals them."""
        return self.log.stream(originator_id, after_version)


def record_history(author: Author, dice: random.Random) -> None:
    """Backups, verifications, deletions, renames and snapshots of two machines, with claims about the past."""
    machines = [author.machine("web", ("vda", "vdb")), author.machine("db")]
    points: list[tuple[UUID, UUID]] = []
    for step in range(6):
        machine = dice.choice(machines)
        zeros = ZeroRuns(np.array([dice.randrange(32)], np.uint32), np.array([2], np.uint32))
        change = Change(rows_at(range(dice.randrange(1, 40)), dice.randrange(3)), zeros, full=dice.random() < 0.3)
        points.append((machine, commit(author, machine, change, dice)))
        for _ in range(dice.randrange(3)):
            owner, point = dice.choice(points)
            result = dice.choice(["ok", "damaged"])
            about = {"level": "stored", "chunks": 1, "checked_bytes": 1, "problems": ()}
            author.save(point, RestorePointVerified, machine_id=owner, result=result, **about)
        if len(points) > 2 and dice.random() < 0.6:
            owner, point = points.pop(dice.randrange(len(points)))
            why = {"actor": "alice", "rule": "manual", "reason": "old", "kept_for": (points[-1][1],)}
            author.save(owner, RestorePointDeleted, restore_point_id=point, **why)
        if step == 3:
            author.machine("web", ("vda",))
    run = author.run_id()
    about = {"machine_id": machines[0], "label": "holdfast-1"}
    author.save(run, SnapshotRequested, **about, disks=(), consistency="application")
    author.save(run, SnapshotCreated, **about, consistency="crash", fallback_cause="no-agent")
    author.save(run, SnapshotReleased, **about)


def commit(author: Author, machine: UUID, change: Change, dice: random.Random) -> UUID:
    """A restore point, days behind the last, some partial, some said to be from long before."""
    author.skip(timedelta(hours=dice.choice([1, 20, 75])))
    taken_at = author.now() - timedelta(days=dice.choice([0, 400])) if dice.random() < 0.7 else None
    disk = DiskLeftOut(disk_id=machine, label='v"db', reason="independent", way_out="none")
    partial = dice.random() < 0.3
    fields: dict[str, Any] = {
        "taken_at": taken_at,
        "left_out": (disk,) if partial else (),
        "result": "partial" if partial else "complete",
    }
    return author.backup(machine, {"vda": change}, **fields)


def held(lake: Lake) -> dict[str, pa.Table]:
    """All rows of all tables."""
    return {spec.name: pa.Table.from_batches(lake.read(spec.name), spec.arrow_schema) for spec in TABLES}


def shown(tables: dict[str, pa.Table], as_of: int | None) -> dict[str, list[str]]:
    """All rows of all views."""
    with duckdb.connect(config={"threads": 1}) as connection:
        for name, rows in tables.items():
            connection.register(f"rows_of_{name}", rows)
        for statement in create_statements({name: f"rows_of_{name}" for name in tables}, as_of=as_of):
            if statement.startswith("CREATE"):
                connection.execute(statement)
        names = [view.name for view in VIEWS]
        texts = {name: connection.table(name).project(f"CAST({name} AS VARCHAR)").fetchall() for name in names}
        return {name: sorted(row[0] for row in found) for name, found in texts.items()}


def test_as_of_every_position_the_views_are_as_if_the_log_had_ended_there(tmp_path: Path) -> None:
    """Deletions, verifications and late claims never change what an earlier position answers; nor do other files."""
    then_dir, now_dir = tmp_path / "then", tmp_path / "now"
    with (
        EventLog.create(tmp_path / "events.sqlite") as log,
        closing(Lake.create(then_dir, TABLES)) as then,
        closing(Lake.create(now_dir, TABLES)) as now,
    ):
        record_history(Author(log), random.Random(7))
        Projector(log, now, commit_bytes=30_000).catch_up()
        for table in TABLES:
            now.compact(table.name, min_files=2)
        now.expire_snapshots([])
        end, whole = log.position(), held(now)
        for position in range(end + 1):
            Projector(cast(EventLog, LogUpTo(log, position)), then).catch_up()
            assert shown(whole, position) == shown(held(then), None), position
        assert shown(whole, end) == shown(whole, None)
        assert all(shown(whole, end).values()), "a view that stayed empty proves nothing"

"""A home whose log and ledger tests write to, change behind its back, copy and roll back. No simulator."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from catalog.domain.events import RestorePointDeleted, RestorePointVerified
from catalog.home import FORMAT, Home, RepositoryConfig
from catalog.ledger.bundle import CoverageRequest
from catalog.ledger.history import DIRECTORY
from catalog.ledger.ledger import Ledger
from catalog.log import EventLog
from catalog.log.chain import GENESIS, leaf_of, next_head
from tests.support.recorded import REPOSITORY, Author

START = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)


class LedgerHome:
    """A home below `root`, with a log, no store and no index."""

    def __init__(self, root: Path) -> None:
        self.home = Home(root / "home")
        self.place = root / "place"
        self.place.mkdir(parents=True)
        (self.home.root / "keys").mkdir(parents=True)
        self.home.write_config(
            RepositoryConfig(
                format=FORMAT,
                repository_id=REPOSITORY,
                created_at=START,
                chunk_bytes=1 << 18,
                pack_bytes=1 << 26,
                compression_level=1,
                encrypted=True,
                key_id="00",
            )
        )
        self.log = EventLog.create(self.home.event_file)
        self.author = Author(self.log)

    def ledger(self) -> Ledger:
        """A ledger that remembers nothing of earlier ones."""
        return Ledger(self.log, self.home, self.author.now)

    def close(self) -> None:
        """Close the log."""
        self.log.close()

    def reopen(self) -> None:
        """Close the log and open it again, as the next process would."""
        self.log.close()
        self.log = EventLog.open(self.home.event_file)
        self.author.log = self.log

    def add_place(self) -> Ledger:
        """Keep checkpoints in the directory."""
        ledger = self.ledger()
        ledger.add_place("vault", DIRECTORY, {"path": str(self.place)})
        return ledger

    def days(self, machine_id: UUID, days: int, **more: Any) -> list[UUID]:
        """A restore point on each of the next days."""
        found = []
        for _ in range(days):
            found.append(self.author.backup(machine_id, {}, **more))
            self.author.skip(DAY - timedelta(minutes=3))
        return found

    def verify(self, machine_id: UUID, point: UUID, result: str = "ok") -> None:
        """A verification of a restore point."""
        about = {"machine_id": machine_id, "level": "content", "result": result, "chunks": 1, "checked_bytes": 1}
        self.author.save(point, RestorePointVerified, problems=(), **about)

    def delete(self, machine_id: UUID, point: UUID) -> None:
        """A tombstone of a restore point."""
        self.author.save(
            machine_id, RestorePointDeleted, restore_point_id=point, actor="ann", rule="keep-30d", reason="too old"
        )

    def request(self, machine_id: UUID, first: int, last: int, **more: Any) -> CoverageRequest:
        """A request for the days from `first` on, before `last`, counted from the start."""
        usual = {"rpo_seconds": 86_400 + 3600}
        return CoverageRequest(machine_id=machine_id, start=START + first * DAY, end=START + last * DAY, **usual | more)

    def sql(self, *statements: tuple[str, tuple[object, ...]]) -> None:
        """Change the file behind the log's back."""
        with closing(sqlite3.connect(self.home.event_file)) as database:
            for statement, parameters in statements:
                database.execute(statement, parameters)
            database.commit()

    def recompute_chain(self) -> None:
        """Make the chain that belongs to the events as they are, as somebody with the database can."""
        with closing(sqlite3.connect(self.home.event_file)) as database:
            rows = database.execute("SELECT * FROM stored_events ORDER BY id").fetchall()
            database.execute("DELETE FROM chain")
            head = GENESIS
            for position, stream, version, topic, state in rows:
                leaf = leaf_of(UUID(stream), version, topic, state)
                head = next_head(head, leaf)
                database.execute("INSERT INTO chain VALUES (?, ?, ?)", (position, leaf, head))
            database.execute("DELETE FROM streams")
            database.execute(
                "INSERT INTO streams SELECT originator_id, MAX(originator_version) FROM stored_events GROUP BY 1"
            )
            database.execute("UPDATE sqlite_sequence SET seq = (SELECT MAX(id) FROM stored_events)")
            database.commit()

    def copy(self, to: Path) -> None:
        """Copy the log, as a backup of the database would."""
        with closing(sqlite3.connect(self.home.event_file)) as database, closing(sqlite3.connect(to)) as other:
            database.backup(other)

    def roll_back(self, copy: Path) -> None:
        """Put a copy of the log in its place."""
        self.log.close()
        for suffix in ("-wal", "-shm"):
            self.home.event_file.with_name(self.home.event_file.name + suffix).unlink(missing_ok=True)
        shutil.copyfile(copy, self.home.event_file)
        self.log = EventLog.open(self.home.event_file)
        self.author.log = self.log

"""A small home for tests of the API: always the same bytes, hostile names included. No simulator."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid5

from catalog.domain import ids
from catalog.domain.events import RepositoryInitialised, RestorePointVerified, SourceAdded
from catalog.home import FORMAT, Home, RepositoryConfig
from catalog.ledger.keyfile import key_name, make_key
from catalog.ledger.ledger import Ledger
from catalog.log import EventLog
from catalog.runtime import create_lake
from tests.support.recorded import CHUNK_BYTES, REPOSITORY, Author, Change, rows_at

NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)
HOSTILE = "<img src=x onerror=alert(1)>\x1b[31m\"'&"
"""What a machine's owner may call it."""


def clock() -> datetime:
    """A clock that stands."""
    return NOW


def counted_bytes(seed: str) -> Callable[[int], bytes]:
    """A source of bytes that are always the same."""
    calls = 0

    def random(count: int) -> bytes:
        nonlocal calls
        calls += 1
        return hashlib.shake_256(f"{seed} {calls}".encode()).digest(count)

    return random


def counted_ids() -> Callable[[], UUID]:
    """A source of identifiers that are always the same."""
    calls = 0

    def new_id() -> UUID:
        nonlocal calls
        calls += 1
        return uuid5(REPOSITORY, f"new id {calls}")

    return new_id


@dataclass(frozen=True, slots=True)
class ApiHome:
    """A home and what is in it: `points` of the first machine, the oldest first."""

    home: Home
    machines: tuple[UUID, ...]
    points: tuple[UUID, ...]
    disk: UUID
    digest: str

    @classmethod
    def made(cls, root: Path) -> ApiHome:
        """Three machines: web-1 with four points, db-1 with one that was verified, and one never backed up."""
        home = _empty(root / "home")
        with closing(EventLog.open(home.event_file)) as log:
            author = Author(log)
            source = ids.source_id(REPOSITORY, "lab")
            author.save(source, SourceAdded, name="lab", kind="image", settings={"path": "images"})
            web, db = author.machine("web-1", ("vda", "vdb")), author.machine("db-1")
            other = author.machine(HOSTILE)
            rows = rows_at(range(8), salt=1)
            both = {"vda": Change(rows), "vdb": Change(rows_at(range(4), salt=9))}
            points = [author.backup(web, both, name="web-1")]
            for salt in (2, 3, 4):
                change = {"vda": Change(rows_at(range(salt, salt + 2), salt=salt)), "vdb": Change()}
                points.append(author.backup(web, change, name="web-1"))
            checked = author.backup(db, {"vda": Change(rows_at(range(6), salt=7))}, name="db-1")
            author.save(
                checked,
                RestorePointVerified,
                machine_id=db,
                level="content",
                result="ok",
                chunks=6,
                checked_bytes=6 * CHUNK_BYTES,
                problems=(),
            )
            Ledger(log, home, clock).publish()
        digest = bytes(rows.digests[0]).hex()
        return cls(home, (web, db, other), tuple(points), ids.disk_id(web, "vda"), digest)


def _empty(root: Path) -> Home:
    home = Home(root)
    (root / "keys").mkdir(parents=True, mode=0o700)
    config = RepositoryConfig(
        format=FORMAT,
        repository_id=REPOSITORY,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        chunk_bytes=CHUNK_BYTES,
        pack_bytes=64 << 20,
        compression_level=1,
        encrypted=True,
        key_id="0" * 16,
    )
    with closing(EventLog.create(home.event_file)) as log:
        log.save(
            RepositoryInitialised(
                originator_id=REPOSITORY,
                originator_version=1,
                recorded_at=config.created_at,
                format=FORMAT,
                chunk_bytes=config.chunk_bytes,
                pack_bytes=config.pack_bytes,
                compression_level=config.compression_level,
                encrypted=True,
                key_id=config.key_id,
            )
        )
    create_lake(home, clock)
    home.write_config(config)
    make_key(home.ledger_key_file, key_name(REPOSITORY), counted_bytes("ledger"))
    return home

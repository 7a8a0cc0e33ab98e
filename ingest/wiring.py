"""The composition root of the writing side: from a home on disk to the objects that work on it.

Imports all packages. Clock, randomness and identifiers enter here and nowhere else.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random, SystemRandom
from threading import Lock
from uuid import UUID, uuid4

from catalog.domain.events import RepositoryInitialised
from catalog.home import FORMAT, Home, RepositoryConfig, check_chunk_bytes
from catalog.log import EventLog
from catalog.runtime import Catalog, create_lake
from ingest.damage import DamagedPacks
from ingest.streams import Clock, PackRecorder
from storage.chunks.store import ChunkStore
from storage.errors import Conflict
from storage.keys import KeyRing
from storage.objects.local import LocalObjects
from storage.objects.port import ObjectStore

PACK_BYTES = 64 * 1024 * 1024
STALE_PARTIAL = timedelta(days=1)
"""Nobody takes so long to write one pack: what is older was left by a process that died."""


def utc_now() -> datetime:
    """The clock of the product: aware UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class InitOptions:
    """What `holdfast init` lets its user choose, for the life of the repository."""

    chunk_bytes: int = 256 * 1024
    compression_level: int = 1
    encrypted: bool = True
    pack_bytes: int = PACK_BYTES


@dataclass(frozen=True, slots=True)
class Services:
    """Everything a flow needs, built for one home."""

    catalog: Catalog
    keys: KeyRing
    objects: ObjectStore
    store: ChunkStore
    packs: PackRecorder
    damaged: DamagedPacks
    clock: Clock
    random: Random
    new_id: Callable[[], UUID]
    adopting: Lock = field(default_factory=Lock)
    """One thread at a time brings the chunk index up to the store."""

    @property
    def home(self) -> Home:
        """Where it all lives."""
        return self.catalog.home

    @property
    def config(self) -> RepositoryConfig:
        """What holds for the life of the repository."""
        return self.catalog.config

    @property
    def log(self) -> EventLog:
        """The truth."""
        return self.catalog.log

    def adopt_packs(self) -> list[str]:
        """Bring packs that dead runs left into the record and the chunk index; return what is wrong with others.

        A damaged pack is not cited any more: what it held is stored again when it is met again.
        """
        with self.adopting:
            return self._adopt_packs()

    def _adopt_packs(self) -> list[str]:
        self.objects.clean_partial(STALE_PARTIAL)
        bad: dict[bytes, str] = {}
        damaged = self.damaged.known()
        sound = [pack for pack in self.store.packs() if pack not in damaged]
        self.store.sync_index(sound, on_bad=lambda pack_id, error: bad.update({pack_id: str(error)}))
        # The record decides, not what is new to the index: a run may have died after the one and before the other.
        orphans = self.packs.unrecorded([pack for pack in sound if pack not in bad])
        self.packs.adopt([self.store.sealed(pack) for pack in orphans])
        return list(bad.values())


def init_home(home: Home, options: InitOptions, *, clock: Clock = utc_now) -> RepositoryConfig:
    """Create a repository. The home appears whole or not at all; an existing one is never touched."""
    check_chunk_bytes(options.chunk_bytes)
    if home.root.exists() and any(home.root.iterdir()):
        known = home.config_file.exists()
        raise Conflict(
            f"{home.root} {'already is a Holdfast home' if known else 'is not empty'}",
            code="home-exists" if known else "home-not-empty",
            hint="use it as it is, or choose another directory with --home",
        )
    home.root.parent.mkdir(parents=True, exist_ok=True)
    building = Home(home.root.with_name(f".{home.root.name}.{uuid4().hex[:8]}.init"))
    building.root.mkdir(mode=0o700)
    try:
        config = _fill(building, options, clock)
        building.root.rename(home.root)
    except BaseException:
        shutil.rmtree(building.root, ignore_errors=True)
        raise
    return config


def _fill(home: Home, options: InitOptions, clock: Clock) -> RepositoryConfig:
    for directory in (home.key_file.parent, home.store_dir, home.lock_dir, home.scratch_dir):
        directory.mkdir(mode=0o700)
    keys = KeyRing.create(home.key_file, encrypts=options.encrypted)
    config = RepositoryConfig(
        format=FORMAT,
        repository_id=uuid4(),
        created_at=clock(),
        chunk_bytes=options.chunk_bytes,
        pack_bytes=options.pack_bytes,
        compression_level=options.compression_level,
        encrypted=options.encrypted,
        key_id=keys.key_id,
    )
    log = EventLog.create(home.event_file)
    try:
        log.save(_initialised(config))
    finally:
        log.close()
    create_lake(home)
    home.write_config(config)
    return config


def _initialised(config: RepositoryConfig) -> RepositoryInitialised:
    return RepositoryInitialised(
        originator_id=config.repository_id,
        originator_version=1,
        recorded_at=config.created_at,
        format=config.format,
        chunk_bytes=config.chunk_bytes,
        pack_bytes=config.pack_bytes,
        compression_level=config.compression_level,
        encrypted=config.encrypted,
        key_id=config.key_id,
    )


def load_keys(home: Home, config: RepositoryConfig) -> KeyRing:
    """Load the key and make sure that it is this repository's."""
    keys = KeyRing.load(home.key_file)
    keys.require(config.key_id)
    return keys


@contextmanager
def opened(home: Home, *, clock: Clock = utc_now, random: Random | None = None) -> Iterator[Services]:
    """Open a home for writing work and close it afterwards."""
    config = home.read_config()
    keys = load_keys(home, config)
    with Catalog.opened(home, clock=clock) as catalog:
        objects = LocalObjects(home.store_dir)
        store = ChunkStore(
            objects,
            keys,
            home.chunk_index_dir,
            repository_id=config.repository_id,
            chunk_bytes=config.chunk_bytes,
            pack_bytes=config.pack_bytes,
            compression_level=config.compression_level,
        )
        packs = PackRecorder(catalog.log, config.repository_id, clock)
        damaged = DamagedPacks(catalog.log, config.repository_id, clock)
        yield Services(catalog, keys, objects, store, packs, damaged, clock, random or SystemRandom(), uuid4)


def free_bytes(path: Path) -> int:
    """Free space where `path` lives."""
    stat = os.statvfs(path)
    return stat.f_bavail * stat.f_frsize

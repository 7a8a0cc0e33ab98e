"""A home made anew from an object store and the key: the event log from its segments, all else from that.

Imports `catalog.segments` and `ingest.wiring`. The new home appears whole or not at all; what was interrupted goes on
where it stopped. The index is not needed for restores and is made last.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from catalog.domain.events import Event, RepositoryInitialised, RepositoryRecovered
from catalog.home import FORMAT, Home, RepositoryConfig
from catalog.log import EventLog
from catalog.runtime import create_lake, utc_now
from catalog.segments.load import Progress, load
from catalog.segments.store import SegmentStore
from ingest.keysafe import bring_ledger_key
from ingest.locks import exclusive
from ingest.streams import StreamWriter
from storage.errors import Conflict, Corrupt, NotFound
from storage.files import fsync_directory
from storage.keys import KeyRing
from storage.objects.local import LocalObjects

Clock = Callable[[], datetime]


@dataclass(frozen=True, slots=True)
class RecoverReport:
    """What came back: events up to `position`, recorded until `recorded_until`; `lost` names what could not be used."""

    config: RepositoryConfig
    position: int
    recorded_until: datetime
    head: bytes
    segments: int
    lost: tuple[str, ...]


def recover(
    home: Home,
    store: Path,
    keys: KeyRing,
    *,
    copy: bool = False,
    clock: Clock = utc_now,
    progress: Progress = lambda done, end: None,
) -> RecoverReport:
    """Make `home` from the object store at `store`, which it then uses as its own (or a copy of it).

    Raises Conflict when the home exists, NotFound when the store holds no event log, Denied for another key.
    """
    if home.root.exists() and any(home.root.iterdir()):
        raise Conflict(f"{home.root} is not empty", code="home-exists", hint="choose another place with --home")
    if not (store / "events").is_dir():
        raise NotFound(
            f"{store} holds no segments of an event log",
            code="segments-missing",
            hint="name the folder that was HOME/store, with `events` and `packs` in it",
        )
    home.root.parent.mkdir(parents=True, exist_ok=True)
    building = Home(home.root.with_name(f".{home.root.name}.recovering"))
    building.root.mkdir(mode=0o700, exist_ok=True)
    with exclusive(building.root, "recover", busy=f"{home.root} is being recovered already"):
        _lay_out(building, store, keys, copy=copy)
        report = _load(building, keys, clock, progress)
        with suppress(FileNotFoundError):
            home.root.rmdir()
        building.root.rename(home.root)
        fsync_directory(home.root.parent)
    return report


def _lay_out(home: Home, store: Path, keys: KeyRing, *, copy: bool) -> None:
    for directory in (home.key_file.parent, home.lock_dir, home.scratch_dir):
        directory.mkdir(mode=0o700, exist_ok=True)
    if home.key_file.exists():
        KeyRing.load(home.key_file).require(keys.key_id)
    else:
        keys.save(home.key_file)
    if home.store_dir.is_symlink():
        # Of an earlier attempt, perhaps with another store.
        home.store_dir.unlink()
    if copy:
        shutil.copytree(store, home.store_dir, dirs_exist_ok=True, copy_function=_copy_missing)
    elif home.store_dir.exists():
        raise Conflict(
            f"an earlier attempt began to copy the store to {home.store_dir}",
            code="recover-copy",
            hint=f"say --copy again, or remove {home.root}",
        )
    else:
        home.store_dir.symlink_to(store.resolve(), target_is_directory=True)


def _copy_missing(source: str, target: str) -> str:
    """Copy a file that is not there yet in full; objects never change."""
    if not os.path.exists(target):
        partial = f"{target}.copying"
        shutil.copy2(source, partial)
        os.replace(partial, target)
    return target


def _load(home: Home, keys: KeyRing, clock: Clock, progress: Progress) -> RecoverReport:
    log = EventLog.open(home.event_file) if home.event_file.exists() else EventLog.create(home.event_file)
    with closing(log):
        objects = LocalObjects(home.store_dir)
        bring_ledger_key(home, keys, objects)
        segments = SegmentStore(objects, keys, None)
        earlier = [f"{name} was set aside before" for name in segments.aside()]
        loaded = load(log, segments, progress=progress)
        config = _config(log, keys, home.store_dir)
        # Before anything new is recorded: what could not follow must not come in the way of what now will.
        for name in loaded.unused:
            segments.set_aside(name)
        lost = (*loaded.lost, *earlier)
        last = _record(log, config, loaded.position, lost, clock)
        report = RecoverReport(
            config=config,
            position=loaded.position,
            recorded_until=last.recorded_at,
            head=log.chain_head(loaded.position),
            segments=loaded.segments,
            lost=lost,
        )
    if home.lake_dir.exists():  # an earlier attempt died, perhaps while it laid this out
        shutil.rmtree(home.lake_dir)
    create_lake(home)
    home.write_config(config)
    return report


def _config(log: EventLog, keys: KeyRing, store: Path) -> RepositoryConfig:
    first = next((recorded.event for recorded in log.poll(0, max_bytes=1)), None)
    if not isinstance(first, RepositoryInitialised):
        raise Corrupt(
            f"no event log can be made from {store}",
            code="segments-unusable",
            why="its first event, which says what the repository is, is not there",
            hint="another copy of the store may have it",
        )
    keys.require(first.key_id)
    return RepositoryConfig(
        format=FORMAT,
        repository_id=first.originator_id,
        created_at=first.recorded_at,
        chunk_bytes=first.chunk_bytes,
        pack_bytes=first.pack_bytes,
        compression_level=first.compression_level,
        encrypted=first.encrypted,
        key_id=first.key_id,
    )


def _record(log: EventLog, config: RepositoryConfig, position: int, lost: tuple[str, ...], clock: Clock) -> Event:
    """Record the recovery behind what was loaded, once; return the last event that was loaded."""
    last = log.poll(position - 1)[0].event
    if not isinstance(last, RepositoryRecovered):
        stream = StreamWriter(log, config.repository_id, clock)
        stream.append(RepositoryRecovered, position=position, head=log.chain_head(position), lost=lost)
    return last

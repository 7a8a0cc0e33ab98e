"""Is this installation fit to be trusted tonight? Each check says what it looked at and what to do.

Imports all packages. A check never changes anything; one that can't run is a finding, not a crash.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Literal
from uuid import UUID

from catalog.domain.events import PackSealed, SnapshotReleaseFailed, SnapshotRequested
from catalog.home import Home, RepositoryConfig
from catalog.ledger.ledger import Ledger
from catalog.runtime import Catalog
from catalog.segments.store import covering, names_in, require_head
from catalog.sql.door.door import DoorLimits, SqlDoor
from ingest.damage import DamagedPacks
from ingest.deadrestores import open_restores
from ingest.wiring import free_bytes, load_keys
from storage.errors import HoldfastError, Unavailable
from storage.objects.local import LocalObjects
from storage.packs.format import pack_name

STALE_CHECKPOINT = timedelta(days=2)
MIN_FREE_BYTES = 5 * 1024**3
TOOLS = {
    "qemu-img": "restores to qcow2, vmdk and vhdx",
    "qemu-nbd": "backups of qcow2 and vmdk files",
}

Status = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Check:
    """The outcome of one check."""

    check: str
    status: Status
    detail: str
    hint: str = ""


def examine(home: Home) -> list[Check]:
    """Run every check. Raises only when there is no home to check."""
    config = home.read_config()
    found = [_outcome("key", lambda: _key(home, config))]
    try:
        with Catalog.opened(home) as catalog:
            found += [_outcome(name, partial(check, catalog)) for name, check in CATALOG_CHECKS.items()]
    except HoldfastError as error:
        found.append(_failed("events", error))
    found.append(_outcome("space", lambda: _space(home)))
    found.append(_outcome("sql-door", _sql_door))
    return found + [_tool(name, use) for name, use in TOOLS.items()]


def _outcome(name: str, check: Callable[[], Check]) -> Check:
    try:
        return check()
    except (HoldfastError, OSError, sqlite3.Error) as error:
        return _failed(name, error)


def _failed(name: str, error: Exception) -> Check:
    return Check(name, "fail", str(error), getattr(error, "hint", ""))


def _key(home: Home, config: RepositoryConfig) -> Check:
    load_keys(home, config)
    return Check(
        "key",
        "ok",
        f"id {config.key_id}, readable by its owner only",
        "keep a copy elsewhere: holdfast key export",
    )


def _events(catalog: Catalog) -> Check:
    report = catalog.log.verify_chain()
    if not report.ok:
        return Check(
            "events",
            "fail",
            f"position {report.bad_position}: {report.problem}",
            "restore events.sqlite from a copy; do not edit it",
        )
    return Check("events", "ok", f"{report.events} events, the hash chain holds")


def _index(catalog: Catalog) -> Check:
    lag = catalog.log.position() - catalog.lake.position()
    problems = catalog.index_problems()
    if problems:
        return Check("index", "fail", f"{len(problems)} files: {problems[0]}", "holdfast rebuild index")
    if lag:
        return Check("index", "warn", f"{lag} events behind the log", "the next command catches up")
    return Check("index", "ok", f"at position {catalog.log.position()}, every file verifies")


def _recorded_packs(catalog: Catalog) -> Check:
    """Compare the store with the record, by name and size; what is inside is for `verify` to say."""
    stored = {found.name: found.size_bytes for found in LocalObjects(catalog.home.store_dir).list("packs/")}
    damaged = DamagedPacks(catalog.log, catalog.config.repository_id, catalog.clock).known()
    problems = [f"{pack_name(pack)}: found damaged" for pack in damaged]
    followed = (recorded.event for recorded in catalog.log.follow_only((PackSealed,)))
    sealed = [event for event in followed if isinstance(event, PackSealed)]
    for event in sealed:
        size = stored.get(pack_name(event.pack_id))
        if size is None:
            problems.append(f"{pack_name(event.pack_id)}: missing")
        elif size != event.size_bytes:
            problems.append(f"{pack_name(event.pack_id)}: {size} bytes, {event.size_bytes} were sealed")
    if problems:
        return Check(
            "packs", "fail", f"{len(problems)} of {len(sealed)}: {problems[0]}", "holdfast verify says what they hold"
        )
    return Check("packs", "ok", f"{len(sealed)} packs, all there", "read them back: holdfast verify")


def _shipped(catalog: Catalog) -> Check:
    """Could the log be made anew from the store? Names and the last head only; `recover` proves what is inside."""
    objects = LocalObjects(catalog.home.store_dir)
    chain = list(covering(names_in(objects)))
    position, done = catalog.log.position(), chain[-1].last if chain else 0
    if done > position:
        return Check(
            "shipped", "fail", f"the store has events up to {done}, the log ends at {position}", "holdfast recover"
        )
    if chain:
        require_head(objects, chain[-1], catalog.log.chain_head(done))
    if done < position:
        return Check("shipped", "warn", f"the last {position - done} events are not in the store", "holdfast ship")
    return Check("shipped", "ok", f"the store has all {position} events")


def _runs(catalog: Catalog) -> Check:
    dead = [state.name for state in catalog.machines() if state.open_runs]
    if dead:
        return Check("runs", "warn", f"running, or died: {', '.join(dead)}", "the next backup of them cleans up")
    return Check("runs", "ok", "no backup is running or was left behind")


def _left_snapshots(catalog: Catalog) -> Check:
    """Snapshots that could not be removed. A run asks for one of its own once those of its machine are gone."""
    left: dict[UUID, str] = {}
    for recorded in catalog.log.follow_only((SnapshotReleaseFailed, SnapshotRequested)):
        event = recorded.event
        if isinstance(event, SnapshotReleaseFailed):
            left[event.machine_id] = f"{event.label}: {event.why}"
        elif isinstance(event, SnapshotRequested):
            left.pop(event.machine_id, None)
    if left:
        names = {state.machine_id: f"{state.source}/{state.name}" for state in catalog.machines()}
        detail = ", ".join(f"{names.get(machine_id, machine_id)} ({why})" for machine_id, why in left.items())
        hint = "they grow with every write: back those machines up, which removes them, or remove them at the source"
        return Check("snapshots", "warn", f"not removed: {detail}", hint)
    return Check("snapshots", "ok", "every snapshot of ours is known to be removed, or is of a run above")


def _given_back(catalog: Catalog) -> Check:
    """Restores to a source that never ended: what they made there, or overwrote in part, is still so."""
    left = open_restores(catalog.log)
    if left:
        named = ", ".join(f"{started.source}/{started.machine} ({started.label}, {started.target})" for started in left)
        hint = (
            "if nobody restores now: restore a disk in place again before its machine starts; the next backup of the"
            " source removes a new machine that is not whole, where it can tell; else look for the label"
        )
        return Check("restores", "warn", f"running, or died: {named}", hint)
    return Check("restores", "ok", "no restore to a source was left in the middle")


def _ledger(catalog: Catalog) -> Check:
    ledger = Ledger(catalog.log, catalog.home, catalog.clock)
    status = ledger.status()
    failing = [place.name for place in status.places if place.failing]
    if failing:
        return Check("ledger", "fail", f"checkpoints do not reach {', '.join(failing)}", "holdfast ledger checkpoint")
    if not status.places:
        hint = "keep checkpoints elsewhere: holdfast ledger place add"
        return Check("ledger", "warn", "whoever can write here can rewrite history unnoticed", hint)
    if status.published_at is None or status.age is None:
        return Check("ledger", "warn", "no checkpoint was published yet", "holdfast ledger checkpoint")
    ledger.public_key()
    detail = f"{status.published_size} of {status.size} events signed, {status.published_at:%Y-%m-%dT%H:%M:%SZ}"
    if status.age > STALE_CHECKPOINT and status.size > (status.published_size or 0) + 1:
        return Check("ledger", "warn", f"{detail}: long ago", "holdfast ledger checkpoint")
    return Check("ledger", "ok", detail, "compare the log with them: holdfast ledger check")


def _space(home: Home) -> Check:
    free = free_bytes(home.root)
    status: Status = "ok" if free >= MIN_FREE_BYTES else "warn"
    return Check("space", status, f"{free / 1024**3:.1f} GiB free", "" if status == "ok" else "make room")


CATALOG_CHECKS: dict[str, Callable[[Catalog], Check]] = {
    "events": _events,
    "index": _index,
    "packs": _recorded_packs,
    "shipped": _shipped,
    "runs": _runs,
    "snapshots": _left_snapshots,
    "restores": _given_back,
    "ledger": _ledger,
}


def _sql_door() -> Check:
    try:
        with SqlDoor(DoorLimits(), spares=0) as door:
            missing = door.missing()
    except Unavailable as error:
        return Check(
            "sql-door",
            "warn",
            f"not sealed: {error.why}",
            "the API answers no SQL; `holdfast sql` runs in its own process",
        )
    if missing:
        return Check("sql-door", "warn", f"sealed, without: {', '.join(missing)}", "catalog/sql/door/README.md")
    return Check("sql-door", "ok", "every layer holds")


def _tool(name: str, use: str) -> Check:
    path = shutil.which(name)
    if path is None:
        return Check(name, "warn", f"not installed: no {use}", "install qemu-utils")
    return Check(name, "ok", path)

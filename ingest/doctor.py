"""Is this installation fit to be trusted tonight? Each check says what it looked at and what to do.

Imports all packages. A check never changes anything; one that can't run is a finding, not a crash.
"""

from __future__ import annotations

import shutil
import sqlite3
import stat
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from ingest.wiring import Services, free_bytes
from storage.errors import HoldfastError

MIN_FREE_BYTES = 5 * 1024**3
TOOLS = {
    "qemu-img": "restores to qcow2, vmdk and vhdx",
    "qemu-nbd": "backups of qcow2, vmdk and vhdx files",
}

Status = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Check:
    """The outcome of one check."""

    check: str
    status: Status
    detail: str
    hint: str = ""


def examine(services: Services) -> list[Check]:
    """Run every check."""
    checks: dict[str, Callable[[Services], Check]] = {
        "key": _key,
        "events": _events,
        "index": _index,
        "packs": _packs,
        "runs": _runs,
        "space": _space,
    }
    found = []
    for name, check in checks.items():
        try:
            found.append(check(services))
        except (HoldfastError, OSError, sqlite3.Error) as error:
            found.append(Check(name, "fail", str(error), getattr(error, "hint", "")))
    return found + [_tool(name, use) for name, use in TOOLS.items()]


def _key(services: Services) -> Check:
    mode = stat.S_IMODE(services.home.key_file.stat().st_mode)
    if mode & 0o077:
        return Check("key", "fail", f"mode {mode:o}: others can read the key", f"chmod 600 {services.home.key_file}")
    return Check(
        "key",
        "ok",
        f"id {services.config.key_id}, readable by its owner only",
        "keep a copy elsewhere: holdfast key export",
    )


def _events(services: Services) -> Check:
    report = services.log.verify_chain()
    if not report.ok:
        return Check(
            "events",
            "fail",
            f"position {report.bad_position}: {report.problem}",
            "restore events.sqlite from a copy; do not edit it",
        )
    return Check("events", "ok", f"{report.events} events, the hash chain holds")


def _index(services: Services) -> Check:
    lag = services.log.position() - services.catalog.lake.position()
    problems = services.catalog.index_problems()
    if problems:
        return Check("index", "fail", f"{len(problems)} files: {problems[0]}", "holdfast rebuild index")
    if lag:
        return Check("index", "warn", f"{lag} events behind the log", "the next command catches up")
    return Check("index", "ok", f"at position {services.log.position()}, every file verifies")


def _packs(services: Services) -> Check:
    count = sum(1 for _ in services.store.packs())
    return Check("packs", "ok", f"{count} packs in the store", "read them back: holdfast verify")


def _runs(services: Services) -> Check:
    dead = [state.name for state in services.catalog.machines() if state.open_runs]
    if dead:
        return Check("runs", "warn", f"running, or died: {', '.join(dead)}", "the next backup of them cleans up")
    return Check("runs", "ok", "no backup is running or was left behind")


def _space(services: Services) -> Check:
    free = free_bytes(services.home.root)
    status: Status = "ok" if free >= MIN_FREE_BYTES else "warn"
    return Check("space", status, f"{free / 1024**3:.1f} GiB free", "" if status == "ok" else "make room")


def _tool(name: str, use: str) -> Check:
    path = shutil.which(name)
    if path is None:
        return Check(name, "warn", f"not installed: no {use}", "install qemu-utils")
    return Check(name, "ok", path)

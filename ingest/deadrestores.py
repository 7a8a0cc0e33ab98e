"""Restores to a source that died: found in the log, and removed at the source by whoever speaks to it next.

Imports `adapters` and `catalog`. Only what an intent of ours names is looked for, and only when nobody is at it: a
restore holds a lock that dies with its process. A disk overwritten in part is named until it is whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import cast
from uuid import UUID

from adapters.errors import AdapterError
from adapters.port import Source, TidyingSource
from catalog.domain.restoring import SourceRestoreCompleted, SourceRestoreFailed, SourceRestoreStarted
from catalog.log import EventLog
from ingest.locks import exclusive
from ingest.streams import StreamWriter
from ingest.wiring import Services
from storage.errors import Conflict

_KINDS = (SourceRestoreStarted, SourceRestoreCompleted, SourceRestoreFailed)
_MAY_STILL_COME = timedelta(hours=2)
"""How long a source may take over a machine that a restore asked for before it died."""


def open_restores(log: EventLog) -> list[SourceRestoreStarted]:
    """Those of which no end is recorded; not those over disks that were restored since."""
    found: dict[UUID, SourceRestoreStarted] = {}
    for recorded in log.follow_only(_KINDS):
        event = recorded.event
        if isinstance(event, SourceRestoreStarted):
            found[event.originator_id] = event
        elif (ended := found.pop(event.originator_id, None)) and isinstance(event, SourceRestoreCompleted):
            found = {task: other for task, other in found.items() if not _over_the_same(other, ended)}
    return list(found.values())


@contextmanager
def living(services: Services, task: UUID) -> Iterator[None]:
    """Hold a restore for the length of a block. Raises Conflict when another process has it."""
    name = f"restore-{task.hex}"
    with exclusive(services.home.lock_dir, name, busy="that restore is running"):
        try:
            yield
        finally:  # no other restore will have this name
            (services.home.lock_dir / f"{name}.lock").unlink(missing_ok=True)


def remove_dead_restores(services: Services, name: str, source: Source) -> list[str]:
    """Remove what restores that died left at a source which knows them; say what was done, or why it was not."""
    if not hasattr(source, "remove_unfinished"):
        return []
    told = []
    for started in _of(services, name):
        try:
            with living(services, started.originator_id):
                told += _removed(services, cast(TidyingSource, source), started)
        except Conflict:
            continue  # it runs
        except AdapterError as error:
            told.append(f"the clean-up of a restore of {started.machine} that died is pending: {error}")
    return told


def _of(services: Services, name: str) -> list[SourceRestoreStarted]:
    open_now = open_restores(services.log)
    return [started for started in open_now if started.source == name and started.target == "new-machine"]


def _removed(services: Services, source: TidyingSource, started: SourceRestoreStarted) -> list[str]:
    if all(other.originator_id != started.originator_id for other in _of(services, started.source)):
        return []  # it ended meanwhile
    left = source.remove_unfinished(started.label, len(started.disks))
    if not left and services.clock() - started.recorded_at < _MAY_STILL_COME:
        return []
    done = "; ".join(f"{leftover.what}: {leftover.action}" for leftover in left) or "nothing of it is at the source"
    StreamWriter(services.log, started.originator_id, services.clock).append(
        SourceRestoreFailed,
        machine_id=started.machine_id,
        restore_point_id=started.restore_point_id,
        source=started.source,
        kind="interrupted",
        code="found-dead",
        why=f"its process died; {done}",
    )
    return [f"a restore of {started.machine} had died; {done}"]


def _over_the_same(restore: SourceRestoreStarted, whole: SourceRestoreStarted) -> bool:
    both = restore.target == whole.target == "in-place" and restore.machine_id == whole.machine_id
    return both and set(restore.disks) <= set(whole.disks)

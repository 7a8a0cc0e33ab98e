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

from adapters.errors import AdapterError, SourceUnavailable
from adapters.port import Source, TidyingSource
from catalog.domain.restoring import SourceRestoreCompleted, SourceRestoreFailed, SourceRestoreStarted
from catalog.log import EventLog
from ingest.locks import exclusive
from ingest.streams import StreamWriter
from ingest.wiring import Services
from storage.errors import Conflict

_KINDS = (SourceRestoreStarted, SourceRestoreCompleted, SourceRestoreFailed)
_PREFIX = "restore-"
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
    """Hold a restore for the length of a block. Raises Conflict when another process has it.

    Where the block does not come to its end a file stays, by which the restore is found without reading the log.
    """
    path = services.home.lock_dir / f"{_PREFIX}{task.hex}.lock"
    with exclusive(path.parent, path.stem, busy="that restore is running"):
        yield
        path.unlink(missing_ok=True)


def remove_dead_restores(services: Services, name: str, source: Source) -> list[str]:
    """Remove what restores that died left at a source which knows them; say what was done, or why it was not."""
    if not hasattr(source, "remove_unfinished"):
        return []
    told = []
    for path in sorted(services.home.lock_dir.glob(f"{_PREFIX}*.lock")):
        task = UUID(path.stem.removeprefix(_PREFIX))
        started = _unended(services.log, task)
        if started is None or (started.source, started.target) == (name, "new-machine"):
            told += _tidied(services, cast(TidyingSource, source), task)
    return told


def _unended(log: EventLog, task: UUID) -> SourceRestoreStarted | None:
    events = [event for event in log.stream(task) if isinstance(event, _KINDS)]
    return events[0] if len(events) == 1 and isinstance(events[0], SourceRestoreStarted) else None


def _tidied(services: Services, source: TidyingSource, task: UUID) -> list[str]:
    started = None
    try:
        with living(services, task):
            started = _unended(services.log, task)
            return [] if started is None else [_removed(services, source, started)]
    except Conflict:
        return []  # it runs
    except AdapterError as error:
        machine = started.machine if started is not None else "a machine"
        return [f"the clean-up of a restore of {machine} that died is pending: {error}"]


def _removed(services: Services, source: TidyingSource, started: SourceRestoreStarted) -> str:
    left = source.remove_unfinished(started.label, len(started.disks))
    if not left and services.clock() - started.recorded_at < _MAY_STILL_COME:
        raise SourceUnavailable("nothing of it is at the source, which may be making it yet", code="restore-may-come")
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
    return f"a restore of {started.machine} had died; {done}"


def _over_the_same(restore: SourceRestoreStarted, whole: SourceRestoreStarted) -> bool:
    both = restore.target == whole.target == "in-place" and restore.machine_id == whole.machine_id
    return both and set(restore.disks) <= set(whole.disks)

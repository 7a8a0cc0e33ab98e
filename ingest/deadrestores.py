"""Restores to a source that died: found in the log, and removed at the source by whoever speaks to it next.

Imports `adapters` and `catalog`. A restore shares its source's lock for as long as its process lives: who gets it alone
knows that none lives. A disk that was overwritten in part cannot be tidied up: the doctor names it until it is whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import cast
from uuid import UUID

from adapters.errors import AdapterError
from adapters.port import Leftover, Source, TidyingSource
from catalog.domain.restoring import SourceRestoreCompleted, SourceRestoreFailed, SourceRestoreStarted
from catalog.log import EventLog
from ingest.locks import exclusive, shared
from ingest.streams import StreamWriter
from ingest.wiring import Services
from storage.errors import Conflict

_KINDS = (SourceRestoreStarted, SourceRestoreCompleted, SourceRestoreFailed)


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


def living(services: Services, source: str, stop: Callable[[], bool]) -> AbstractContextManager[None]:
    """Hold for the length of a restore to the source. Raises Interrupted when it has to wait and `stop` says so."""
    return shared(services.home.lock_dir, _lock(source), wait_until=stop)


def remove_dead_restores(services: Services, name: str, source: Source) -> list[str]:
    """Remove what restores that died left at a source which knows them; say what was done, or why it was not."""
    if not hasattr(source, "remove_unfinished") or not _of(services, name):
        return []
    with ExitStack() as held:
        try:
            held.enter_context(exclusive(services.home.lock_dir, _lock(name), busy=f"somebody restores to {name}"))
        except Conflict:
            return []  # it may be the one that lives
        return [_removed(services, cast(TidyingSource, source), started) for started in _of(services, name)]


def _of(services: Services, name: str) -> list[SourceRestoreStarted]:
    open_now = open_restores(services.log)
    return [started for started in open_now if started.source == name and started.target == "new-machine"]


def _removed(services: Services, source: TidyingSource, started: SourceRestoreStarted) -> str:
    try:
        left = source.remove_unfinished(started.label)
    except AdapterError as error:
        return f"the clean-up of a restore of {started.machine} that died is pending: {error}"
    done = _told(left)
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


def _told(left: Sequence[Leftover]) -> str:
    return "; ".join(f"{leftover.what}: {leftover.action}" for leftover in left) or "nothing of it was there"


def _over_the_same(restore: SourceRestoreStarted, whole: SourceRestoreStarted) -> bool:
    both = restore.target == whole.target == "in-place" and restore.machine_id == whole.machine_id
    return both and set(restore.disks) <= set(whole.disks)


def _lock(source: str) -> str:
    return f"restores-{source}"

"""Restores to a source that died: which they are, and removing what they left there.

Imports `adapters.port` and `catalog`. Only what an intent of ours names is looked for, and only when nobody is at it: a
restore holds a lock that dies with its process.
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

_MAY_STILL_COME = timedelta(hours=2)
"""How long a source may take over a machine that a restore asked for before it died."""


def open_restores(log: EventLog) -> list[SourceRestoreStarted]:
    """The restores to any source that run, or died."""
    found: dict[UUID, SourceRestoreStarted] = {}
    for recorded in log.follow_only((SourceRestoreStarted, SourceRestoreCompleted, SourceRestoreFailed)):
        event = recorded.event
        if isinstance(event, SourceRestoreStarted):
            found[event.originator_id] = event
        else:
            found.pop(event.originator_id, None)
    return list(found.values())


@contextmanager
def restoring(services: Services, task: UUID) -> Iterator[None]:
    """Hold a restore for the length of a block. Raises Conflict when another process has it."""
    name = f"restore-{task.hex}"
    with exclusive(services.home.lock_dir, name, busy="that restore is running"):
        try:
            yield
        finally:  # no other restore will have this name
            (services.home.lock_dir / f"{name}.lock").unlink(missing_ok=True)


def discard_unfinished(services: Services, name: str, source: Source) -> list[str]:
    """Remove what dead restores left at the source `name`; return what is to be told. What fails is tried again."""
    if not hasattr(source, "discard_unfinished"):
        return []
    told = []
    for started in open_restores(services.log):
        if started.source == name and started.target == "new-machine":
            try:
                with restoring(services, started.originator_id):
                    told += _discard(services, cast(TidyingSource, source), started)
            except Conflict:
                continue  # it runs
            except AdapterError as error:
                told.append(f"clean-up is pending: {error}")
    return told


def _discard(services: Services, source: TidyingSource, started: SourceRestoreStarted) -> list[str]:
    if all(one.originator_id != started.originator_id for one in open_restores(services.log)):
        return []  # it ended meanwhile
    left = source.discard_unfinished(started.label, len(started.disks))
    if left is None and services.clock() - started.recorded_at < _MAY_STILL_COME:
        return []
    why = f"{left.what}: {left.action}" if left is not None else "nothing of it is at the source"
    StreamWriter(services.log, started.originator_id, services.clock).append(
        SourceRestoreFailed,
        machine_id=started.machine_id,
        restore_point_id=started.restore_point_id,
        source=started.source,
        kind="interrupted",
        code="found-dead",
        why=why,
    )
    return [f"a restore had died, {why}"] if left is not None else []

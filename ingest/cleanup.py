"""Leaving nothing behind: releasing snapshots, and closing the runs that died.

Imports `adapters` and `catalog`. A release that fails is recorded and left to the next run; it never
takes back a restore point that was committed.
"""

from __future__ import annotations

from functools import partial
from uuid import UUID

from adapters.errors import AdapterError
from adapters.port import Snapshot
from catalog.domain import events as ev
from catalog.domain.machine import MachineState
from catalog.domain.run import RunState
from ingest.streams import StreamWriter, despite_others
from ingest.wiring import Services
from storage.errors import HoldfastError


def release(events: StreamWriter, machine_id: UUID, snapshot: Snapshot, *, committed: bool) -> str | None:
    """Release the snapshot; return why not, should it fail.

    A log that takes no more events keeps no snapshot alive: the open run tells the next one what to look for.
    """
    about = {"machine_id": machine_id, "label": snapshot.label}
    unrecorded = _note(events, ev.SnapshotReleaseRequested, **about, committed=committed)
    try:
        snapshot.release(committed=committed)
    except AdapterError as error:
        if unrecorded is None:
            _note(events, ev.SnapshotReleaseFailed, **about, code=error.code, why=str(error))
        return str(error)
    return unrecorded or _note(events, ev.SnapshotReleased, **about)


def _note(events: StreamWriter, event: type[ev.Event], **fields: object) -> str | None:
    try:
        events.append(event, **fields)
    except HoldfastError as error:
        return str(error)
    return None


def close_dead_runs(services: Services, state: MachineState) -> int:
    """Record the end of runs that were killed; the caller holds the machine's lock, so none of them lives."""
    for run_id in state.open_runs:
        despite_others(partial(_close, services, state.machine_id, run_id))
    return len(state.open_runs)


def _close(services: Services, machine_id: UUID, run_id: UUID) -> None:
    """A run that ended before it was closed keeps its outcome: its restore point is good."""
    run = RunState.fold(services.log.stream(run_id))
    machine = StreamWriter(services.log, machine_id, services.clock)
    ends: list[ev.Event] = []
    outcome = run.outcome if run is not None else None
    if outcome is None:
        outcome = "interrupted"
        stream = StreamWriter(services.log, run_id, services.clock)
        ends.append(stream.make(ev.BackupInterrupted, machine_id=machine_id, cause="found dead by the next run"))
    services.log.save(*ends, machine.make(ev.RunClosed, run_id=run_id, outcome=outcome))

"""Leaving nothing behind: releasing snapshots, and closing the runs that died.

Imports `adapters` and `catalog`. A release that fails is recorded and left to the next run; it never
takes back a restore point that was committed.
"""

from __future__ import annotations

from uuid import UUID

from adapters.errors import AdapterError
from adapters.port import Snapshot
from catalog.domain import events as ev
from catalog.domain.machine import MachineState
from ingest.streams import StreamWriter
from ingest.wiring import Services


def release(events: StreamWriter, machine_id: UUID, snapshot: Snapshot, *, committed: bool) -> str | None:
    """Release the snapshot; return why not, should it fail."""
    events.append(ev.SnapshotReleaseRequested, machine_id=machine_id, label=snapshot.label, committed=committed)
    try:
        snapshot.release(committed=committed)
    except AdapterError as error:
        events.append(
            ev.SnapshotReleaseFailed, machine_id=machine_id, label=snapshot.label, code=error.code, why=str(error)
        )
        return str(error)
    events.append(ev.SnapshotReleased, machine_id=machine_id, label=snapshot.label)
    return None


def close_dead_runs(services: Services, machine: StreamWriter, state: MachineState) -> int:
    """Record the end of runs that were killed; the caller holds the machine's lock, so none of them lives."""
    for run_id in state.open_runs:
        services.log.save(
            StreamWriter(services.log, run_id, services.clock).make(
                ev.BackupInterrupted, machine_id=state.machine_id, cause="found dead by the next run"
            ),
            machine.make(ev.RunClosed, run_id=run_id, outcome="interrupted"),
        )
    return len(state.open_runs)

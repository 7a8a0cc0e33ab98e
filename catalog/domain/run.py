"""How far a backup run got: what exists at the source under its label, which disks are planned and sealed.

Pure; imports events and `storage.errors` of ours. After its end a run can still clean up, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from catalog.domain.events import (
    BackupCompleted,
    BackupFailed,
    BackupInterrupted,
    BackupStarted,
    ChangeTrackingDistrusted,
    DiskPlanned,
    DiskSealed,
    Event,
    LeftoverCleaned,
    SnapshotCreated,
    SnapshotReleased,
    SnapshotReleaseFailed,
    SnapshotReleaseRequested,
    SnapshotRequested,
    TransportChosen,
    TransportFellBack,
)
from catalog.domain.facts import DiskPoint
from catalog.domain.folding import check_next, fold_stream, unexpected
from storage.errors import Conflict

Snapshot = Literal["none", "requested", "created", "releasing", "released"]
Outcome = Literal["completed", "failed", "interrupted"]


@dataclass(frozen=True, slots=True)
class RunState:
    """One run of one machine; `outcome` is None while it is open."""

    run_id: UUID
    version: int
    machine_id: UUID
    source: str
    machine: str
    label: str
    full_requested: bool
    started_at: datetime
    snapshot: Snapshot = "none"
    planned: Mapping[UUID, DiskPlanned] = field(default_factory=dict)
    sealed: Mapping[UUID, DiskPoint] = field(default_factory=dict)
    outcome: Outcome | None = None
    restore_point_id: UUID | None = None

    @classmethod
    def fold(cls, events: Iterable[Event]) -> RunState | None:
        """The run that `events` made, None if there are none; Corrupt when they contradict each other."""
        return fold_stream(cls.begin, events)

    @classmethod
    def begin(cls, event: Event) -> RunState:
        """The run after its first event."""
        if not isinstance(event, BackupStarted):
            raise unexpected(event, "before BackupStarted")
        check_next(event, event.originator_id, 0)
        return cls(
            run_id=event.originator_id,
            version=1,
            machine_id=event.machine_id,
            source=event.source,
            machine=event.machine,
            label=event.label,
            full_requested=event.full_requested,
            started_at=event.recorded_at,
        )

    def apply(self, event: Event) -> RunState:
        """The run after one more event; Conflict when it may not come next."""
        check_next(event, self.run_id, self.version)
        step = STEPS.get(type(event))
        if step is None:
            raise unexpected(event, "in the stream of a run")
        if self.outcome is not None and type(event) not in CLEANING:
            raise unexpected(event, "after the end of a run")
        return replace(step(self, event), version=event.originator_version)

    @property
    def open(self) -> bool:
        """Whether the run has not ended; if its process is gone, it died."""
        return self.outcome is None


def _requested(state: RunState, event: SnapshotRequested) -> RunState:
    return _moved(state, event, ("none", "released"), "requested")


def _created(state: RunState, event: SnapshotCreated) -> RunState:
    return _moved(state, event, ("requested",), "created")


def _releasing(state: RunState, event: SnapshotReleaseRequested) -> RunState:
    return _moved(state, event, ("requested", "created", "releasing"), "releasing")


def _released(state: RunState, event: SnapshotReleased) -> RunState:
    return _moved(state, event, ("releasing",), "released")


def _release_failed(state: RunState, event: SnapshotReleaseFailed) -> RunState:
    return _moved(state, event, ("releasing",), "releasing")


def _moved(
    state: RunState,
    event: SnapshotRequested | SnapshotCreated | SnapshotReleaseRequested | SnapshotReleased | SnapshotReleaseFailed,
    allowed: tuple[Snapshot, ...],
    to: Snapshot,
) -> RunState:
    if event.label != state.label:
        raise Conflict(f"{event.label} is not the label of the run, {state.label}", code="run-label")
    if state.snapshot not in allowed:
        raise unexpected(event, f"while the snapshot is: {state.snapshot}")
    return replace(state, snapshot=to)


def _planned(state: RunState, event: DiskPlanned) -> RunState:
    if event.disk_id in state.sealed:
        raise Conflict(f"disk {event.disk_id} is sealed already", code="disk-sealed")
    return replace(state, planned={**state.planned, event.disk_id: event})


def _sealed(state: RunState, event: DiskSealed) -> RunState:
    disk = event.disk
    plan = state.planned.get(disk.disk_id)
    if disk.disk_id in state.sealed:
        raise Conflict(f"disk {disk.label} is sealed already", code="disk-sealed")
    if plan is None or (plan.seq, plan.parent_seq, plan.level) != (disk.seq, disk.parent_seq, disk.level):
        raise Conflict(f"disk {disk.label} was not planned as it was sealed", code="disk-not-planned")
    return replace(state, sealed={**state.sealed, disk.disk_id: disk})


def _completed(state: RunState, event: BackupCompleted) -> RunState:
    if state.planned.keys() != state.sealed.keys():
        raise Conflict(f"run {state.run_id} has disks that are not sealed", code="run-unsealed")
    return replace(state, outcome="completed", restore_point_id=event.restore_point_id)


def _failed(state: RunState, _event: BackupFailed) -> RunState:
    return replace(state, outcome="failed")


def _interrupted(state: RunState, _event: BackupInterrupted) -> RunState:
    return replace(state, outcome="interrupted")


def _noted(
    state: RunState, _event: ChangeTrackingDistrusted | LeftoverCleaned | TransportChosen | TransportFellBack
) -> RunState:
    return state


STEPS: Mapping[type[Event], Callable[[RunState, Any], RunState]] = {
    SnapshotRequested: _requested,
    SnapshotCreated: _created,
    SnapshotReleaseRequested: _releasing,
    SnapshotReleased: _released,
    SnapshotReleaseFailed: _release_failed,
    TransportChosen: _noted,
    TransportFellBack: _noted,
    DiskPlanned: _planned,
    DiskSealed: _sealed,
    ChangeTrackingDistrusted: _noted,
    LeftoverCleaned: _noted,
    BackupCompleted: _completed,
    BackupFailed: _failed,
    BackupInterrupted: _interrupted,
}
CLEANING = frozenset({SnapshotReleaseRequested, SnapshotReleased, SnapshotReleaseFailed, LeftoverCleaned})

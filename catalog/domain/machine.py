"""A machine: its disks as last seen, its restore points, and what the next backup builds on.

Pure; imports events and `storage.errors` of ours. A disk's points count from 1 without a gap, and each leads
over its parents to a full with the same chunk size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import msgspec

from catalog.domain.events import (
    DiskOverwritten,
    Event,
    MachineSeen,
    RestorePointCommitted,
    RestorePointDeleted,
    RunClosed,
    RunOpened,
)
from catalog.domain.facts import DiskLeftOut, DiskPoint, DiskSeen, Result
from catalog.domain.folding import check_next, fold_stream, unexpected
from storage.errors import Conflict, NotFound


@dataclass(frozen=True, slots=True)
class RestorePoint:
    """A committed restore point; `machine` is the name the machine had then."""

    restore_point_id: UUID
    machine_id: UUID
    run_id: UUID
    source: str
    machine: str
    recorded_at: datetime
    origin: Literal["backup", "synthetic"]
    result: Result
    consistency: str
    disks: tuple[DiskPoint, ...]
    left_out: tuple[DiskLeftOut, ...]
    of_restore_point: UUID | None
    taken_at: datetime | None = None

    @classmethod
    def of(cls, event: RestorePointCommitted) -> RestorePoint:
        """The restore point that an event of a machine's stream made."""
        return cls(
            restore_point_id=event.restore_point_id,
            machine_id=event.originator_id,
            run_id=event.run_id,
            source=event.source,
            machine=event.machine,
            recorded_at=event.recorded_at,
            origin=event.origin,
            result=event.result,
            consistency=event.consistency,
            disks=event.disks,
            left_out=event.left_out,
            of_restore_point=event.of_restore_point,
            taken_at=event.taken_at,
        )


@dataclass(frozen=True, slots=True)
class MachineState:
    """One machine. `committed` holds its restore points in order, `points` each disk's points by ascending seq.

    `deleted` has the tombstones of points that were withdrawn: those are not in `committed`, their disk points stay.
    `bases` has the point that each disk's base token belongs to, `open_runs` the label of each run that is open.
    """

    machine_id: UUID
    version: int
    source_id: UUID
    source: str
    key: str
    name: str
    disks: tuple[DiskSeen, ...]
    committed: Mapping[UUID, RestorePoint] = field(default_factory=dict)
    deleted: Mapping[UUID, RestorePointDeleted] = field(default_factory=dict)
    points: Mapping[UUID, tuple[DiskPoint, ...]] = field(default_factory=dict)
    bases: Mapping[UUID, DiskPoint] = field(default_factory=dict)
    open_runs: Mapping[UUID, str] = field(default_factory=dict)

    @classmethod
    def fold(cls, events: Iterable[Event]) -> MachineState | None:
        """The machine that `events` made, None if there are none; Corrupt when they contradict each other."""
        return fold_stream(cls.begin, events)

    @classmethod
    def begin(cls, event: Event) -> MachineState:
        """The machine after its first event."""
        if not isinstance(event, MachineSeen):
            raise unexpected(event, "before MachineSeen")
        check_next(event, event.originator_id, 0)
        return cls(event.originator_id, 1, event.source_id, event.source, event.key, event.name, event.disks)

    def apply(self, event: Event) -> MachineState:
        """The machine after one more event; Conflict when it may not come next."""
        check_next(event, self.machine_id, self.version)
        step = STEPS.get(type(event))
        if step is None:
            raise unexpected(event, "in the stream of a machine")
        return replace(step(self, event), version=event.originator_version)

    def disk(self, disk_id: UUID) -> DiskSeen | None:
        """A disk as last seen, None when it was not there."""
        return next((disk for disk in self.disks if disk.disk_id == disk_id), None)

    @property
    def restore_points(self) -> tuple[RestorePoint, ...]:
        """All restore points, oldest first."""
        return tuple(self.committed.values())

    def restore_point(self, restore_point_id: UUID) -> RestorePoint:
        """One restore point; NotFound."""
        point = self.committed.get(restore_point_id)
        if (tombstone := self.deleted.get(restore_point_id)) is not None:
            raise NotFound(
                f"restore point {restore_point_id} of {self.name} was deleted",
                code="restore-point-deleted",
                why=f"by {tombstone.actor} at {tombstone.recorded_at:%Y-%m-%dT%H:%M:%SZ} "
                f"({tombstone.rule}: {tombstone.reason})",
            )
        if point is None:
            raise NotFound(f"{self.name} has no restore point {restore_point_id}", code="restore-point-unknown")
        return point

    def has_made(self, restore_point_id: UUID) -> bool:
        """Whether a restore point was committed, deleted since or not."""
        return restore_point_id in self.committed or restore_point_id in self.deleted

    def restore_point_to_delete(self, restore_point_id: UUID) -> RestorePoint:
        """A restore point that may be withdrawn; Conflict when it is not there or was withdrawn already."""
        point = self.committed.get(restore_point_id)
        if point is None:
            raise Conflict(f"{self.name} holds no restore point {restore_point_id}", code="restore-point-gone")
        return point

    def next_seq(self, disk_id: UUID) -> int:
        """The number that a disk's next point gets; the first is 1."""
        return len(self.points.get(disk_id, ())) + 1

    def base_point(self, disk_id: UUID) -> DiskPoint | None:
        """The point that holds what the disk held when its base token was made: what an incremental builds on."""
        return self.bases.get(disk_id)

    def base_tokens(self) -> dict[str, str]:
        """The base token in force for each disk that has one, by the disk's key."""
        found = {disk.key: self.bases[disk.disk_id].base_token for disk in self.disks if disk.disk_id in self.bases}
        return {key: token for key, token in found.items() if token is not None}

    def chain(self, disk_id: UUID, seq: int) -> tuple[DiskPoint, ...]:
        """The points that make up point `seq` of a disk, from its full on; NotFound."""
        chain: list[DiskPoint] = []
        wanted: int | None = seq
        while wanted is not None:
            chain.append(self._point(disk_id, wanted))
            wanted = chain[-1].parent_seq
        return tuple(reversed(chain))

    def _point(self, disk_id: UUID, seq: int) -> DiskPoint:
        points = self.points.get(disk_id, ())
        if not 0 < seq <= len(points):
            raise NotFound(f"disk {disk_id} of {self.name} has no point {seq}", code="disk-point-unknown")
        return points[seq - 1]


def _seen(state: MachineState, event: MachineSeen) -> MachineState:
    if (event.source_id, event.key) != (state.source_id, state.key):
        raise Conflict(f"{event.name} is another machine than {state.name}", code="machine-differs")
    return replace(state, source=event.source, name=event.name, disks=event.disks)


def _run_opened(state: MachineState, event: RunOpened) -> MachineState:
    if event.run_id in state.open_runs:
        raise Conflict(f"run {event.run_id} is open already", code="run-open")
    return replace(state, open_runs={**state.open_runs, event.run_id: event.label})


def _run_closed(state: MachineState, event: RunClosed) -> MachineState:
    if event.run_id not in state.open_runs:
        raise Conflict(f"run {event.run_id} is not open", code="run-not-open")
    return replace(state, open_runs={run: label for run, label in state.open_runs.items() if run != event.run_id})


def _committed(state: MachineState, event: RestorePointCommitted) -> MachineState:
    if state.has_made(event.restore_point_id):
        raise Conflict(f"restore point {event.restore_point_id} exists", code="restore-point-exists")
    if event.origin == "backup" and event.run_id not in state.open_runs:
        raise Conflict(f"run {event.run_id} is not open", code="run-not-open")
    replaced = _replaced(state, event)
    points, bases = dict(state.points), dict(state.bases)
    for disk in event.disks:
        earlier = points.get(disk.disk_id, ())
        _check_point(disk, earlier)
        points[disk.disk_id] = (*earlier, disk)
        if event.origin == "backup" or bases.get(disk.disk_id) in replaced:
            bases[disk.disk_id] = disk
    committed = {**state.committed, event.restore_point_id: RestorePoint.of(event)}
    return replace(state, committed=committed, points=points, bases=bases)


def _deleted(state: MachineState, event: RestorePointDeleted) -> MachineState:
    state.restore_point_to_delete(event.restore_point_id)
    committed = {point_id: point for point_id, point in state.committed.items() if point_id != event.restore_point_id}
    return replace(state, committed=committed, deleted={**state.deleted, event.restore_point_id: event})


def _overwritten(state: MachineState, event: DiskOverwritten) -> MachineState:
    """What tells changes since the base saw nothing of it perhaps: the next backup is a full, or compares."""
    base = state.bases.get(event.disk_id)
    if base is None:
        return state
    return replace(state, bases={**state.bases, event.disk_id: msgspec.structs.replace(base, base_token=None)})


def _replaced(state: MachineState, event: RestorePointCommitted) -> tuple[DiskPoint, ...]:
    """The points that a synthetic full says again: it takes the place of those that are bases.

    One whose origin was deleted while it was made stands for itself, and the bases stay what they were.
    """
    if event.origin == "backup" or event.of_restore_point in state.deleted:
        return ()
    made_of = state.committed.get(event.of_restore_point) if event.of_restore_point else None
    if made_of is None or any(disk.level != "full" for disk in event.disks):
        raise Conflict("a synthetic restore point is a full, made of a point of its machine", code="point-synthetic")
    return made_of.disks


def _check_point(disk: DiskPoint, earlier: tuple[DiskPoint, ...]) -> None:
    if disk.seq != len(earlier) + 1:
        raise Conflict(f"point {disk.seq} of {disk.label} does not follow {len(earlier)}", code="point-seq")
    if (disk.parent_seq is None) != (disk.level == "full"):
        raise Conflict(f"point {disk.seq} of {disk.label} is {disk.level}", code="point-parent")
    if disk.parent_seq is None:
        return
    if not 0 < disk.parent_seq < disk.seq:
        raise Conflict(f"point {disk.seq} of {disk.label} has no parent {disk.parent_seq}", code="point-parent")
    if earlier[disk.parent_seq - 1].chunk_bytes != disk.chunk_bytes:
        raise Conflict(f"point {disk.seq} of {disk.label} has another chunk size", code="point-chunk-size")


STEPS: Mapping[type[Event], Callable[[MachineState, Any], MachineState]] = {
    MachineSeen: _seen,
    RunOpened: _run_opened,
    RunClosed: _run_closed,
    RestorePointCommitted: _committed,
    RestorePointDeleted: _deleted,
    DiskOverwritten: _overwritten,
}

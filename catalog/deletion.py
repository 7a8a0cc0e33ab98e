"""Withdrawing restore points: what still builds on one, and the tombstone that says who took it away and why.

Imports `catalog.domain`, `catalog.log` and `storage.errors`. Rows and chunks stay where they are: a point that
builds on a deleted one restores to the same bytes, and the next incremental still has its base.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from catalog.domain.events import RestorePointDeleted
from catalog.domain.machine import MachineState, RestorePoint
from catalog.log import EventLog
from storage.errors import Conflict, Invalid, NotFound

MANUAL = "manual"
MAX_REASON_CHARS = 1000
ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class Deletion:
    """What deleting a restore point would mean: `kept_for` are the points, oldest first, that build on its rows."""

    point: RestorePoint
    kept_for: tuple[RestorePoint, ...]
    is_base: bool
    """Whether the machine's next incremental builds on it."""


def plan_deletion(state: MachineState, restore_point_id: UUID) -> Deletion:
    """Look at a restore point without deleting it. Raises NotFound, also when it is deleted already."""
    point = state.restore_point(restore_point_id)
    used = {disk.disk_id: _built_on(state, disk.disk_id, disk.seq) for disk in point.disks}
    users = tuple(
        other
        for other in state.restore_points
        if other is not point and any(disk.seq in used.get(disk.disk_id, ()) for disk in other.disks)
    )
    return Deletion(point, users, any(state.base_point(disk.disk_id) == disk for disk in point.disks))


def delete_point(
    log: EventLog,
    machine_id: UUID,
    restore_point_id: UUID,
    *,
    actor: str,
    reason: str,
    clock: Callable[[], datetime],
    rule: str = MANUAL,
    expected_version: int | None = None,
) -> RestorePointDeleted:
    """Record that a restore point is withdrawn, and return the tombstone.

    Raises Invalid for a reason that is empty or too long, NotFound when there is no such point or not any more. With
    `expected_version` of the machine's stream: Conflict(event-version) when anything came behind that.
    """
    reason = reason.strip()
    if not 0 < len(reason) <= MAX_REASON_CHARS:
        raise Invalid(
            "a deletion has a reason",
            code="deletion-reason",
            why=f"from 1 to {MAX_REASON_CHARS} characters",
            hint="say why, for those who look for the point later",
        )
    attempts = ATTEMPTS if expected_version is None else 1
    for attempt in range(attempts):
        state = MachineState.fold(log.stream(machine_id))
        if state is None:
            raise NotFound(f"there is no machine {machine_id}", code="machine-unknown")
        if expected_version not in (None, state.version):
            raise Conflict(
                f"machine {machine_id} changed meanwhile", code="event-version", hint="look again, and decide again"
            )
        planned = plan_deletion(state, restore_point_id)
        tombstone = RestorePointDeleted(
            originator_id=machine_id,
            originator_version=state.version + 1,
            recorded_at=clock(),
            restore_point_id=restore_point_id,
            actor=actor,
            rule=rule,
            reason=reason,
            kept_for=tuple(point.restore_point_id for point in planned.kept_for),
        )
        try:
            log.save(tombstone)
            break
        except Conflict as error:
            # Somebody else wrote to the machine's stream: look and decide again.
            if error.code != "event-version" or attempt + 1 == attempts:
                raise
    return tombstone


def _built_on(state: MachineState, disk_id: UUID, seq: int) -> set[int]:
    """The points of a disk whose chains have point `seq` in them; deleted points lead over to later ones too."""
    found = {seq}
    for point in state.points.get(disk_id, ()):
        if point.parent_seq in found:
            found.add(point.seq)
    return found

"""Which machines, disks and restore points there are, from the event log alone: for when there is no index.

Imports `catalog.domain`, `catalog.log` and `storage.errors`. The first question reads all events of four types,
later ones those recorded since.
"""

from __future__ import annotations

from uuid import UUID

from catalog.domain.events import MachineSeen, RestorePointCommitted, RestorePointDeleted, SourceAdded
from catalog.domain.machine import MachineState, RestorePoint
from catalog.log import EventLog
from storage.errors import NotFound

FOLLOWED = (SourceAdded, MachineSeen, RestorePointCommitted, RestorePointDeleted)


class LogDirectory:
    """Who is where in the log."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._position = 0
        self._sources: dict[UUID, None] = {}
        self._machines: dict[UUID, None] = {}
        self._machine_of_point: dict[UUID, UUID] = {}
        self._deleted: dict[UUID, None] = {}

    def sources(self) -> list[UUID]:
        """The identifiers of all sources, in the order in which they were first added."""
        self._read_on()
        return list(self._sources)

    def machines(self) -> list[MachineState]:
        """All machines, in the order in which they were first seen."""
        self._read_on()
        states = (self.machine(machine_id) for machine_id in self._machines)
        return [state for state in states if state is not None]

    def machine(self, machine_id: UUID) -> MachineState | None:
        """One machine, None if it was never seen."""
        return MachineState.fold(self._log.stream(machine_id))

    def points(self) -> list[UUID]:
        """The identifiers of all restore points that were not deleted, in the order of the log."""
        self._read_on()
        return [point for point in self._machine_of_point if point not in self._deleted]

    def deleted_points(self) -> list[UUID]:
        """The identifiers of the deleted ones, in the order of their deletion."""
        self._read_on()
        return list(self._deleted)

    def point(self, restore_point_id: UUID) -> RestorePoint:
        """One restore point. Raises NotFound, which tells who deleted it if somebody did."""
        self._read_on()
        machine_id = self._machine_of_point.get(restore_point_id)
        state = None if machine_id is None else self.machine(machine_id)
        if state is None:
            raise NotFound(f"there is no restore point {restore_point_id}", code="restore-point-unknown")
        return state.restore_point(restore_point_id)

    def machine_of(self, restore_point_id: UUID) -> UUID | None:
        """The machine of a restore point, deleted ones included; None if there is no such point."""
        self._read_on()
        return self._machine_of_point.get(restore_point_id)

    def _read_on(self) -> None:
        end = self._log.position()
        for recorded in self._log.follow_only(FOLLOWED, self._position):
            event = recorded.event
            if isinstance(event, MachineSeen):
                self._machines.setdefault(event.originator_id)
            elif isinstance(event, SourceAdded):
                self._sources.setdefault(event.originator_id)
            elif isinstance(event, RestorePointCommitted):
                self._machine_of_point[event.restore_point_id] = event.originator_id
            elif isinstance(event, RestorePointDeleted):
                self._deleted.setdefault(event.restore_point_id)
        self._position = end

"""Which machines, disks and restore points there are, from the event log alone: for when there is no index.

Imports `catalog.domain`, `catalog.log` and `storage.errors`. The first question about machines, and the first about
restore points, read the events that say so; later ones those recorded since.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from catalog.domain.events import MachineSeen, RestorePointCommitted, RestorePointDeleted, SourceAdded
from catalog.domain.machine import MachineState, RestorePoint
from catalog.log import EventLog
from storage.errors import NotFound


@dataclass(frozen=True, slots=True)
class SeenMachine:
    """A machine, as far as names go; they are the last it was seen under."""

    machine_id: UUID
    source: str
    name: str


class LogDirectory:
    """Who is where in the log."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._seen_until = 0
        self._points_until = 0
        self._sources: dict[UUID, None] = {}
        self._machines: dict[UUID, SeenMachine] = {}
        self._machine_of_point: dict[UUID, UUID] = {}
        self._deleted: dict[UUID, None] = {}

    def sources(self) -> list[UUID]:
        """The identifiers of all sources, in the order in which they were first added."""
        self._read_machines()
        return list(self._sources)

    def machines(self) -> list[MachineState]:
        """All machines, in the order in which they were first seen."""
        self._read_machines()
        states = (self.machine(machine_id) for machine_id in self._machines)
        return [state for state in states if state is not None]

    def seen(self) -> list[SeenMachine]:
        """The names of all machines, in the order in which they were first seen."""
        self._read_machines()
        return list(self._machines.values())

    def machine(self, machine_id: UUID) -> MachineState | None:
        """One machine, None if it was never seen."""
        return MachineState.fold(self._log.stream(machine_id))

    def points(self) -> list[UUID]:
        """The identifiers of all restore points that were not deleted, in the order of the log."""
        self._read_points()
        return [point for point in self._machine_of_point if point not in self._deleted]

    def deleted_points(self) -> list[UUID]:
        """The identifiers of the deleted ones, in the order of their deletion."""
        self._read_points()
        return list(self._deleted)

    def point(self, restore_point_id: UUID) -> RestorePoint:
        """One restore point. Raises NotFound, which tells who deleted it if somebody did."""
        self._read_points()
        machine_id = self._machine_of_point.get(restore_point_id)
        state = None if machine_id is None else self.machine(machine_id)
        if state is None:
            raise NotFound(f"there is no restore point {restore_point_id}", code="restore-point-unknown")
        return state.restore_point(restore_point_id)

    def machine_of(self, restore_point_id: UUID) -> UUID | None:
        """The machine of a restore point, deleted ones included; None if there is no such point."""
        self._read_points()
        return self._machine_of_point.get(restore_point_id)

    def _read_machines(self) -> None:
        end = self._log.position()
        for recorded in self._log.follow_only((SourceAdded, MachineSeen), self._seen_until):
            event = recorded.event
            if isinstance(event, MachineSeen):
                self._machines[event.originator_id] = SeenMachine(event.originator_id, event.source, event.name)
            else:
                self._sources.setdefault(event.originator_id)
        self._seen_until = end

    def _read_points(self) -> None:
        end = self._log.position()
        for recorded in self._log.follow_only((RestorePointCommitted, RestorePointDeleted), self._points_until):
            event = recorded.event
            if isinstance(event, RestorePointCommitted):
                self._machine_of_point[event.restore_point_id] = event.originator_id
            elif isinstance(event, RestorePointDeleted):
                self._deleted.setdefault(event.restore_point_id)
        self._points_until = end

"""The small tables as they were at one log position, and what follows from them. Imports `catalog.queries.warm`.

Everything here is the same whenever it is asked. Rows are meant by their index in a table, machines, disks and
points also by their numbers in the vocabulary; -1 is none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TypeVar, cast
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from catalog.access.caller import Scope
from catalog.queries.warm import NULL, Table, Warm, Words
from storage.errors import NotFound

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SCOPES = 64

Rows = NDArray[np.int64]
Mask = NDArray[np.bool_]
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class KnownMachine:
    """A machine as last seen; `row` is the one in `machines`."""

    machine_id: UUID
    source: str
    name: str
    number: int
    row: int

    @property
    def key(self) -> tuple[str, str, str]:
        """What machines are in order by."""
        return self.source, self.name, str(self.machine_id)


class Moment:
    """Log position `position` of the tables. Safe to use from several threads: what is worked out never changes."""

    def __init__(self, warm: Warm, position: int) -> None:
        self.position = position
        self._warm = warm
        self._tables: dict[str, Table] = {}
        self._scopes: dict[Scope, Mask] = {}
        self._results: dict[str, object] = {}

    def once(self, name: str, work: Callable[[], Result]) -> Result:
        """What `work` returns, worked out once for this moment; two threads may meet and do it twice."""
        if name not in self._results:
            self._results[name] = work()
        return cast("Result", self._results[name])

    def table(self, name: str) -> Table:
        """The rows of a table that were known."""
        found = self._tables.get(name)
        if found is None:
            found = self._tables[name] = self._warm.table(name).until(self.position)
        return found

    def words(self, kind: str) -> Words:
        """A vocabulary, which may know more than this moment did."""
        return self._warm.words[kind]

    def text(self, number: int, kind: str = "word") -> str:
        """The text behind a number that is not -1."""
        return self._warm.words[kind].texts[number]

    def optional(self, number: int) -> str | None:
        """The text behind a number, None for -1."""
        return None if number < 0 else self._warm.words["word"].texts[number]

    def id(self, number: int, kind: str) -> UUID:
        """The identifier behind a number."""
        return self._warm.words[kind].id(number)

    def last_rows(self, table: str, column: str) -> Rows:
        """The last row of each number of a vocabulary."""
        rows = self.table(table)
        kind = {"machine_id": "machine", "disk_id": "disk", "restore_point_id": "point"}[column]
        found = np.full(len(self.words(kind)), -1, np.int64)
        found[rows[column]] = np.arange(rows.rows)
        return found

    @cached_property
    def machines(self) -> tuple[KnownMachine, ...]:
        """All machines, in order."""
        table = self.table("machines")
        found = []
        for number, row in enumerate(self.last_rows("machines", "machine_id").tolist()):
            if row >= 0:
                source, name = self.text(int(table["source"][row])), self.text(int(table["name"][row]))
                found.append(KnownMachine(self.id(number, "machine"), source, name, number, row))
        return tuple(sorted(found, key=lambda machine: machine.key))

    @cached_property
    def machine_of(self) -> dict[int, KnownMachine]:
        """Machines by number."""
        return {machine.number: machine for machine in self.machines}

    @cached_property
    def point_rows(self) -> Rows:
        """The row in `restore_points` of each point number."""
        return self.last_rows("restore_points", "restore_point_id")

    @cached_property
    def verified_rows(self) -> Rows:
        """The row in `verifications` of each restore point's last verification, by row in `restore_points`."""
        points = self.table("restore_points")
        return self.last_rows("verifications", "restore_point_id")[points["restore_point_id"]]

    @cached_property
    def deleted_rows(self) -> Rows:
        """The row in `deletions` of each restore point, by row in `restore_points`."""
        points = self.table("restore_points")
        return self.last_rows("deletions", "restore_point_id")[points["restore_point_id"]]

    def admits(self, scope: Scope, machines: NDArray[np.int64]) -> Mask | None:
        """Which of these machine numbers a scope admits, None for all."""
        admitted = self._admitted(scope)
        return None if admitted is None else admitted[np.minimum(machines, len(admitted) - 1)]

    def sees(self, scope: Scope, machine: int) -> bool:
        """Whether a scope admits the machine of this number."""
        admitted = self._admitted(scope)
        return admitted is None or bool(admitted[min(machine, len(admitted) - 1)])

    def _admitted(self, scope: Scope) -> Mask | None:
        """By machine number; the last is for numbers that came later, which are no machines yet."""
        if scope.everything:
            return None
        found = self._scopes.get(scope)
        if found is None:
            found = np.zeros(len(self.words("machine")) + 1, bool)
            for machine in self.machines:
                found[machine.number] = scope.admits(machine.source, machine.name)
            if len(self._scopes) >= SCOPES:
                self._scopes.clear()
            self._scopes[scope] = found
        return found

    def visible_machines(self, scope: Scope) -> list[KnownMachine]:
        """The machines that a scope admits, in order."""
        return [machine for machine in self.machines if self.sees(scope, machine.number)]

    def machine(self, scope: Scope, machine_id: UUID) -> KnownMachine:
        """One machine. Raises NotFound, also when the scope does not admit it."""
        found = self.machine_of.get(self.words("machine").find(str(machine_id)))
        if found is None or not scope.admits(found.source, found.name):
            raise NotFound(f"there is no machine {machine_id}", code="machine-unknown")
        return found

    def point(self, scope: Scope, restore_point_id: UUID) -> int:
        """The row of a restore point. Raises NotFound, also when the scope does not admit its machine."""
        table, rows = self.table("restore_points"), self.point_rows
        number = self.words("point").find(str(restore_point_id))
        row = int(rows[number]) if 0 <= number < len(rows) else -1
        if row < 0 or not self.sees(scope, int(table["machine_id"][row])):
            raise NotFound(f"there is no restore point {restore_point_id}", code="restore-point-unknown")
        return row


def time_of(microseconds: int) -> datetime:
    """A time of a table."""
    return EPOCH + timedelta(microseconds=microseconds)


def optional_time(microseconds: int) -> datetime | None:
    """A time of a table that may be null."""
    return None if microseconds == NULL else time_of(microseconds)


def microseconds(at: datetime) -> int:
    """A time as the tables have it."""
    return (at - EPOCH) // timedelta(microseconds=1)

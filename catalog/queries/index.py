"""Questions to the index, each one statement over the views. Imports `catalog.sql` and `storage`.

An Index answers as of the lake's snapshot at its making: all its answers agree with each other.
"""

from __future__ import annotations

from datetime import datetime
from types import TracebackType
from typing import Self, TypeVar
from uuid import UUID

import msgspec

from catalog.queries.names import pick_machine, pick_point
from catalog.sql.failures import translated
from catalog.sql.runner import connect
from storage.errors import Invalid, NotFound
from storage.lake import Lake

MAX_EVENTS = 1000


class MachineRow(msgspec.Struct, frozen=True, kw_only=True):
    """A machine, and what is kept of it."""

    machine_id: UUID
    source: str
    name: str
    key: str
    disks: int
    excluded_disks: int
    size_bytes: int
    restore_points: int
    stored_bytes: int
    last_point_at: datetime | None
    last_result: str | None
    recorded_at: datetime


class PointRow(msgspec.Struct, frozen=True, kw_only=True):
    """A restore point in a list."""

    restore_point_id: UUID
    machine_id: UUID
    machine: str
    source: str
    run_id: UUID
    origin: str
    result: str
    consistency: str
    disks: int
    left_out: int
    size_bytes: int
    changed_bytes: int
    stored_bytes: int
    recorded_at: datetime
    verified_level: str | None
    verified_result: str | None
    verified_at: datetime | None
    position: int


class DiskRow(msgspec.Struct, frozen=True, kw_only=True):
    """A disk in a restore point; `chain_points` are the points it is made of, itself included."""

    disk_id: UUID
    label: str
    seq: int
    parent_seq: int | None
    level: str
    cause: str
    size_bytes: int
    changed_bytes: int
    read_bytes: int
    new_chunks: int
    stored_bytes: int
    chunk_rows: int
    zero_blocks: int
    chain_points: int


class EventRow(msgspec.Struct, frozen=True, kw_only=True):
    """An event; `body` is JSON text."""

    position: int
    topic: str
    stream_id: UUID
    version: int
    recorded_at: datetime
    machine_id: UUID | None
    run_id: UUID | None
    disk_id: UUID | None
    rows: int | None
    state_bytes: int
    body: str


Row = TypeVar("Row", bound=msgspec.Struct)

MACHINES = """
WITH kept AS (
    SELECT machine_id, count(*) AS points, sum(stored_bytes) AS stored, max(recorded_at) AS last_at,
        arg_max(result, position) AS last_result
    FROM restore_points GROUP BY machine_id
), present AS (
    SELECT d.machine_id, count(*) AS disks, count(d.excluded_reason) AS excluded, sum(d.size_bytes) AS size
    FROM disks d JOIN machines m USING (machine_id) WHERE d.position = m.position GROUP BY d.machine_id
)
SELECT m.machine_id, m.source, m.name, m.key, coalesce(p.disks, 0) AS disks, coalesce(p.excluded, 0) AS excluded_disks,
    coalesce(p.size, 0)::BIGINT AS size_bytes, coalesce(k.points, 0) AS restore_points,
    coalesce(k.stored, 0)::BIGINT AS stored_bytes, k.last_at AS last_point_at, k.last_result, m.recorded_at
FROM machines m LEFT JOIN kept k USING (machine_id) LEFT JOIN present p USING (machine_id)
ORDER BY m.source, m.name, m.machine_id
"""
POINTS = "SELECT * FROM restore_points WHERE $1 IS NULL OR machine_id = $1 ORDER BY position"
POINT = "SELECT * FROM restore_points WHERE restore_point_id = $1"
POINT_IDS = "SELECT restore_point_id FROM restore_points"
DISKS = """
WITH RECURSIVE chain AS (
    SELECT disk_id, seq AS top, seq, parent_seq FROM disk_points WHERE restore_point_id = $1
    UNION ALL
    SELECT c.disk_id, c.top, p.seq, p.parent_seq
    FROM chain c JOIN disk_points p ON p.disk_id = c.disk_id AND p.seq = c.parent_seq
)
SELECT d.*, (SELECT count(*) FROM chain c WHERE c.disk_id = d.disk_id) AS chain_points
FROM disk_points d WHERE d.restore_point_id = $1 ORDER BY d.label, d.disk_id
"""
EVENTS = """
SELECT * FROM events WHERE position > $1 AND ($2 IS NULL OR machine_id = $2
    OR run_id IN (SELECT run_id FROM events WHERE machine_id = $2 AND run_id IS NOT NULL))
ORDER BY position LIMIT $3
"""


class Index:
    """The lake's newest snapshot, open for questions; close it when done."""

    def __init__(self, lake: Lake) -> None:
        self._connection = connect(lake)

    def machines(self) -> list[MachineRow]:
        """All machines, by source and name."""
        return self._ask(MachineRow, MACHINES)

    def restore_points(self, machine_id: UUID | None = None) -> list[PointRow]:
        """The restore points, of one machine or all, the newest last."""
        return self._ask(PointRow, POINTS, _text(machine_id))

    def restore_point(self, restore_point_id: UUID) -> PointRow:
        """One restore point. Raises NotFound."""
        found = self._ask(PointRow, POINT, str(restore_point_id))
        if not found:
            raise NotFound(f"there is no restore point {restore_point_id}", code="restore-point-unknown")
        return found[0]

    def disks(self, restore_point_id: UUID) -> list[DiskRow]:
        """The disks of a restore point, by label."""
        return self._ask(DiskRow, DISKS, str(restore_point_id))

    def events(self, after: int = 0, limit: int = 100, machine_id: UUID | None = None) -> list[EventRow]:
        """The next events behind a log position, all or those about one machine and its runs."""
        if not 0 < limit <= MAX_EVENTS:
            raise Invalid(f"{limit} is no limit from 1 to {MAX_EVENTS}", code="page-limit")
        return self._ask(EventRow, EVENTS, after, _text(machine_id), limit)

    def find_point(self, text: str) -> UUID:
        """The restore point whose identifier starts with `text`; see `names.pick_point`."""
        with translated():
            rows = self._connection.execute(POINT_IDS).fetchall()
        return pick_point(text, [UUID(row[0]) for row in rows])

    def find_machine(self, text: str) -> MachineRow:
        """The machine called `text`; see `names.pick_machine`."""
        return pick_machine(text, self.machines())

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, row: type[Row], statement: str, *values: object) -> list[Row]:
        with translated():
            rows = self._connection.sql(statement, params=list(values)).to_arrow_reader().read_all().to_pylist()
        return [msgspec.convert(values, row) for values in rows]


def _text(value: UUID | None) -> str | None:
    return None if value is None else str(value)

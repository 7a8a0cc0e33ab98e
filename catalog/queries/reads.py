"""The questions of the API, the web page and the command line, answered from a warm copy of the small tables.

Imports `catalog` and `storage`. One value serves all threads of a process: an answer is made from one immutable
state, which `refresh` replaces. Rows in bulk (events, chunks, extents) stay in the index and are read with pruning.
What a scope does not admit is in no answer: it is absent from lists, and NotFound by its identifier.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import pyarrow as pa

from catalog.access.caller import Scope
from catalog.queries.asked import Asked, Page
from catalog.queries.rows import (
    CoverageRow,
    DiskRow,
    EventRow,
    ExtentRow,
    GridRow,
    IndexStatus,
    LeftOutRow,
    MachineRow,
    PointRow,
    ProvenanceRow,
    ReferenceRow,
    SearchHit,
    SeenDiskRow,
)
from catalog.resolve.resolver import Resolver
from storage.lake import Lake

__all__ = ["Asked", "CatalogReads", "Page"]

Stream = tuple[pa.Schema, Iterator[pa.RecordBatch]]


def utc_now() -> datetime:
    """The time, aware UTC."""
    return datetime.now(UTC)


class CatalogReads:
    """Answers at one log position each; see `Asked`. Raises NotFound, Invalid, Corrupt."""

    def __init__(self, lake: Lake, resolver: Resolver, *, clock: Callable[[], datetime] = utc_now) -> None:
        raise NotImplementedError

    @property
    def position(self) -> int:
        """The log position of the newest answers."""
        raise NotImplementedError

    def refresh(self) -> int:
        """Adopt the index's newest snapshot; return its position. Cheap when nothing moved."""
        raise NotImplementedError

    def close(self) -> None:
        """Let go of the copy; the lake stays its owner's."""
        raise NotImplementedError

    def position_at(self, when: datetime) -> int:
        """The largest position such that every event up to it was recorded at or before `when`."""
        raise NotImplementedError

    def scope_ids(self, scope: Scope, as_of: int | None = None) -> frozenset[UUID] | None:
        """The machines that a scope admits, None for everything."""
        raise NotImplementedError

    def machines(self, asked: Asked, *, name: str | None = None) -> Page[MachineRow]:
        """Machines by source and name; `name`: only those whose name or source/name contains it, case apart."""
        raise NotImplementedError

    def machine(self, asked: Asked, machine_id: UUID) -> MachineRow:
        """One machine. Raises NotFound."""
        raise NotImplementedError

    def find_machine(self, asked: Asked, text: str) -> MachineRow:
        """The machine called NAME, SOURCE/NAME or by its identifier. Raises NotFound; Invalid if several are."""
        raise NotImplementedError

    def disks(self, asked: Asked, machine_id: UUID) -> Page[SeenDiskRow]:
        """All disks that a machine ever had, by label. Raises NotFound."""
        raise NotImplementedError

    def restore_points(
        self,
        asked: Asked,
        *,
        machine_id: UUID | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        valid_at: datetime | None = None,
        include_deleted: bool = False,
        newest_first: bool = True,
    ) -> Page[PointRow]:
        """Restore points in the order of the log, recorded from `since` on and before `until`.

        `valid_at`: those whose data is from then or earlier, as claimed, and which were not deleted by then.
        """
        raise NotImplementedError

    def restore_point(self, asked: Asked, restore_point_id: UUID) -> PointRow:
        """One restore point, also a deleted one. Raises NotFound."""
        raise NotImplementedError

    def find_point(self, asked: Asked, text: str) -> PointRow:
        """The point that `text` names: the start of its identifier, `latest`, or `latest:MACHINE`. Raises NotFound."""
        raise NotImplementedError

    def point_disks(self, asked: Asked, restore_point_id: UUID) -> Page[DiskRow]:
        """The disks of a restore point, by label. Raises NotFound."""
        raise NotImplementedError

    def left_out(self, asked: Asked, restore_point_id: UUID) -> tuple[LeftOutRow, ...]:
        """The disks that a restore point does not hold. Raises NotFound."""
        raise NotImplementedError

    def provenance(self, asked: Asked, restore_point_id: UUID) -> Page[ProvenanceRow]:
        """Which points supply which share of each disk, by label and point. Raises NotFound."""
        raise NotImplementedError

    def extents(self, asked: Asked, restore_point_id: UUID, disk_id: UUID) -> Page[ExtentRow]:
        """What this point recorded of a disk, in the order of the disk. Raises NotFound."""
        raise NotImplementedError

    def extent_batches(self, asked: Asked, restore_point_id: UUID, disk_id: UUID) -> Stream:
        """The same as a stream without limit: start_bytes, length_bytes, kind."""
        raise NotImplementedError

    def block_map(
        self,
        asked: Asked,
        restore_point_id: UUID,
        disk_id: UUID,
        *,
        first_block: int = 0,
        count: int | None = None,
    ) -> Stream:
        """Where each block of a disk is, in order, as a stream: see `blocks.SCHEMA`. Raises NotFound, Invalid."""
        raise NotImplementedError

    def references(self, asked: Asked, digest: bytes, *, inherited: bool = False) -> Page[ReferenceRow]:
        """Which restore points wrote a chunk, and where; with `inherited` how long it stays there."""
        raise NotImplementedError

    def coverage(
        self,
        asked: Asked,
        machine_id: UUID,
        *,
        start: datetime,
        end: datetime,
        rpo: timedelta,
        accepted: Collection[str] = (),
    ) -> CoverageRow:
        """Whether a machine was backed up often enough; see `catalog.domain.coverage.assess`. Raises NotFound."""
        raise NotImplementedError

    def coverage_grid(self, asked: Asked, *, first_day: date, last_day: date) -> Page[GridRow]:
        """The state of each day (UTC) of each machine, both ends included."""
        raise NotImplementedError

    def events(
        self,
        asked: Asked,
        *,
        machine_id: UUID | None = None,
        restore_point_id: UUID | None = None,
        topic: str | None = None,
        newest_first: bool = False,
    ) -> Page[EventRow]:
        """Events in the order of the log: all, of a machine, or of a restore point. `topic` is with or without /1."""
        raise NotImplementedError

    def event(self, asked: Asked, position: int) -> EventRow:
        """One event. Raises NotFound."""
        raise NotImplementedError

    def search(self, asked: Asked, text: str) -> Page[SearchHit]:
        """What `text` names: parts of machine names, beginnings of identifiers, digests."""
        raise NotImplementedError

    def status(self, asked: Asked) -> IndexStatus:
        """What there is, and what needs somebody's attention."""
        raise NotImplementedError

"""The questions of the API, the web page and the command line, answered from a warm copy of the small tables.

Imports `catalog` and `storage`. One value serves all threads of a process: an answer is made from one immutable
state, which `refresh` replaces. Rows in bulk (events, chunks, extents) stay in the index and are read with pruning.
What a scope does not admit is in no answer: it is absent from lists, and NotFound by its identifier.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Collection
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

from catalog.access.caller import Scope
from catalog.queries import covering, machines, points, standing
from catalog.queries.asked import Asked, Page
from catalog.queries.blocks import Disk, Stream
from catalog.queries.happenings import Happenings, Sought
from catalog.queries.moment import Moment
from catalog.queries.positions import position_at, recorded_at
from catalog.queries.provenance import Provenance
from catalog.queries.references import references
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
from catalog.queries.runs import RunBook
from catalog.queries.warm import Warm
from catalog.resolve.from_lake import LakeRows
from catalog.resolve.resolver import Resolver
from storage.errors import Invalid
from storage.lake import Lake

__all__ = ["Asked", "CatalogReads", "Page"]

MOMENTS = 8
"""Positions whose workings are kept: the newest, and those that somebody turns pages at."""


def utc_now() -> datetime:
    """The time, aware UTC."""
    return datetime.now(UTC)


class CatalogReads:
    """Answers at one log position each; see `Asked`. Raises NotFound, Invalid, Corrupt."""

    def __init__(self, lake: Lake, resolver: Resolver, *, clock: Callable[[], datetime] = utc_now) -> None:
        self._lake = lake
        self._resolver = resolver
        self._clock = clock
        self._warm = Warm(lake)
        self._moments: OrderedDict[int, Moment] = OrderedDict()
        self._lock = threading.Lock()
        self._runs = RunBook(self._warm, lake)
        self._happenings = Happenings(lake, self._runs)
        self._provenance = Provenance(LakeRows(lake))
        self.refresh()

    @property
    def position(self) -> int:
        """The log position of the newest answers."""
        return self._warm.position

    def refresh(self) -> int:
        """Adopt the index's newest snapshot; return its position. Cheap when nothing moved."""
        return self._warm.refresh()

    def close(self) -> None:
        """Let go of the copy; the lake and the resolver stay their owner's."""
        with self._lock:
            self._moments.clear()

    def position_at(self, when: datetime) -> int:
        """The largest position such that every event up to it was recorded at or before `when`."""
        return position_at(self._lake, when, self._warm.position)

    def scope_ids(self, scope: Scope, as_of: int | None = None) -> frozenset[UUID] | None:
        """The machines that a scope admits, None for everything."""
        if scope.everything:
            return None
        return frozenset(machine.machine_id for machine in self._at(as_of).visible_machines(scope))

    def machines(self, asked: Asked, *, name: str | None = None) -> Page[MachineRow]:
        """Machines by source and name; `name`: only those whose name or source/name contains it, case apart."""
        return machines.machines(self._at(asked.as_of), asked, name)

    def machine(self, asked: Asked, machine_id: UUID) -> MachineRow:
        """One machine. Raises NotFound."""
        return machines.machine(self._at(asked.as_of), asked.scope, machine_id)

    def find_machine(self, asked: Asked, text: str) -> MachineRow:
        """The machine called NAME, SOURCE/NAME or by its identifier. Raises NotFound; Invalid if several are."""
        return machines.find_machine(self._at(asked.as_of), asked.scope, text)

    def disks(self, asked: Asked, machine_id: UUID) -> Page[SeenDiskRow]:
        """All disks that a machine ever had, by label. Raises NotFound."""
        return machines.disks(self._at(asked.as_of), asked, machine_id)

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
        wanted = points.Wanted(machine_id, since, until, valid_at, include_deleted, newest_first)
        return points.restore_points(self._at(asked.as_of), asked, wanted)

    def restore_point(self, asked: Asked, restore_point_id: UUID) -> PointRow:
        """One restore point, also a deleted one. Raises NotFound."""
        return points.restore_point(self._at(asked.as_of), asked.scope, restore_point_id)

    def find_point(self, asked: Asked, text: str) -> PointRow:
        """The point that `text` names: the start of its identifier, `latest`, or `latest:MACHINE`. Raises NotFound."""
        return points.find_point(self._at(asked.as_of), asked.scope, text)

    def point_disks(self, asked: Asked, restore_point_id: UUID) -> Page[DiskRow]:
        """The disks of a restore point, by label. Raises NotFound."""
        return points.point_disks(self._at(asked.as_of), asked, restore_point_id)

    def left_out(self, asked: Asked, restore_point_id: UUID) -> tuple[LeftOutRow, ...]:
        """The disks that a restore point does not hold. Raises NotFound."""
        return points.left_out(self._at(asked.as_of), self._lake, asked.scope, restore_point_id)

    def provenance(self, asked: Asked, restore_point_id: UUID) -> Page[ProvenanceRow]:
        """Which points supply which share of each disk, by label and point. Raises NotFound."""
        return self._provenance.page(self._at(asked.as_of), asked, restore_point_id)

    def extents(self, asked: Asked, restore_point_id: UUID, disk_id: UUID) -> Page[ExtentRow]:
        """What this point recorded of a disk, in the order of the disk. Raises NotFound."""
        return Disk(self._at(asked.as_of), self._lake, asked, restore_point_id, disk_id).extent_page(asked)

    def extent_batches(self, asked: Asked, restore_point_id: UUID, disk_id: UUID) -> Stream:
        """The same as a stream without limit: start_bytes, length_bytes, kind."""
        return Disk(self._at(asked.as_of), self._lake, asked, restore_point_id, disk_id).extents()

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
        disk = Disk(self._at(asked.as_of), self._lake, asked, restore_point_id, disk_id)
        return disk.map(self._resolver, first_block, count)

    def references(self, asked: Asked, digest: bytes, *, inherited: bool = False) -> Page[ReferenceRow]:
        """Which restore points wrote a chunk, and where; with `inherited` how long it stays there."""
        return references(self._at(asked.as_of), self._lake, asked, digest, inherited=inherited)

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
        moment = self._at(asked.as_of)
        return covering.coverage(moment, asked, machine_id, start=start, end=end, rpo=rpo, accepted=accepted)

    def coverage_grid(self, asked: Asked, *, first_day: date, last_day: date) -> Page[GridRow]:
        """The state of each day (UTC) of each machine, both ends included."""
        return covering.coverage_grid(self._at(asked.as_of), asked, first_day, last_day)

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
        sought = Sought(machine_id, restore_point_id, topic, newest_first)
        return self._happenings.page(self._at(asked.as_of), asked, sought)

    def event(self, asked: Asked, position: int) -> EventRow:
        """One event. Raises NotFound."""
        return self._happenings.event(self._at(asked.as_of), asked.scope, position)

    def search(self, asked: Asked, text: str) -> Page[SearchHit]:
        """What `text` names: parts of machine names, beginnings of identifiers, digests."""
        moment = self._at(asked.as_of)
        return standing.search(moment, self._lake, self._runs.at(moment), asked, text)

    def status(self, asked: Asked) -> IndexStatus:
        """What there is, and what needs somebody's attention."""
        moment = self._at(asked.as_of)
        then = None if asked.as_of is None else recorded_at(self._lake, moment.position)
        return standing.status(moment, self._runs.at(moment), asked.scope, then or self._clock())

    def _at(self, as_of: int | None) -> Moment:
        """The moment of an answer. Raises Invalid for a position that the index has not reached."""
        newest = self._warm.position
        position = newest if as_of is None else as_of
        if not 0 <= position <= newest:
            raise Invalid(
                f"position {position} is not from 0 to {newest}",
                code="as-of-position",
                hint="the index may have to catch up first" if position > newest else "",
            )
        with self._lock:
            moment = self._moments.pop(position, None) or Moment(self._warm, position)
            self._moments[position] = moment
            while len(self._moments) > MOMENTS:
                self._moments.popitem(last=False)
            return moment

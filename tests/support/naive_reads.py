"""The answers of CatalogReads worked out the slow way: plain Python over the events up to a position."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime, timedelta
from functools import cached_property
from itertools import groupby
from uuid import UUID

from catalog.access.caller import Scope
from catalog.batches import decode_chunks, decode_zeros
from catalog.domain import events
from catalog.domain.coverage import CoverageReport, CoveredPoint, Day, assess, day_states
from catalog.domain.facts import DiskPoint
from catalog.log import Recorded
from catalog.projections.journal import IN_MACHINE_STREAMS, IN_RUN_STREAMS

Committed = tuple[int, events.RestorePointCommitted]
Cell = tuple[int, bytes, str, int, int] | str
"""A block: (seq of the writer, digest, pack, offset, stored bytes), or "zero"."""
Map = dict[int, Cell]
Maps = dict[tuple[UUID, int], Map]
"""What was laid already: a committed point's map is the same at every position."""


class Naive:
    """One position, one scope, over the events that were recorded."""

    def __init__(self, recorded: Sequence[Recorded], position: int, scope: Scope, maps: Maps) -> None:
        self.position = position
        self.scope = scope
        self.recorded = [one for one in recorded if one.position <= position]
        self._maps = maps

    def _all(self, kind: type[events.Event]) -> Iterator[tuple[int, events.Event]]:
        return ((one.position, one.event) for one in self.recorded if isinstance(one.event, kind))

    @cached_property
    def machines(self) -> dict[UUID, tuple[int, events.MachineSeen]]:
        """Those in scope, as last seen, in order."""
        last = {event.originator_id: (position, event) for position, event in self._all(events.MachineSeen)}
        admitted = {
            key: (position, event)
            for key, (position, event) in last.items()
            if self.scope.admits(event.source, event.name)
        }
        return dict(sorted(admitted.items(), key=lambda item: (item[1][1].source, item[1][1].name, str(item[0]))))

    @cached_property
    def deleted(self) -> dict[UUID, events.RestorePointDeleted]:
        """Tombstones by restore point."""
        return {event.restore_point_id: event for _, event in self._all(events.RestorePointDeleted)}

    @cached_property
    def verified(self) -> dict[UUID, events.RestorePointVerified]:
        """The last verification of each restore point."""
        return {event.originator_id: event for _, event in self._all(events.RestorePointVerified)}

    @cached_property
    def every_point(self) -> list[Committed]:
        """Restore points of all machines, also deleted ones."""
        return list(self._all(events.RestorePointCommitted))  # type: ignore[arg-type]  # they are of this type

    @property
    def points(self) -> list[Committed]:
        """Those in scope."""
        return [one for one in self.every_point if one[1].originator_id in self.machines]

    def alive(self, of: UUID | None = None) -> list[Committed]:
        """Those in scope that were not deleted."""
        return [
            (position, event)
            for position, event in self.points
            if event.restore_point_id not in self.deleted and of in (None, event.originator_id)
        ]

    def valid(self, at: datetime) -> list[UUID]:
        """Those whose data was there at a time and which were not deleted by then."""
        return [
            event.restore_point_id
            for _, event in self.points
            if (event.taken_at or event.recorded_at) <= at
            and (event.restore_point_id not in self.deleted or self.deleted[event.restore_point_id].recorded_at > at)
        ]

    def events(self, machine_id: UUID | None = None, point: UUID | None = None) -> list[int]:
        """The positions of the events of the scope, a machine or a restore point."""
        if point is not None:
            run = next(event.run_id for _, event in self.every_point if event.restore_point_id == point)
            return [one.position for one in self.recorded if _run_of(one.event) == run or _about(one.event, point)]
        if machine_id is None and self.scope.everything:
            return [one.position for one in self.recorded]
        wanted = {machine_id} if machine_id is not None else set(self.machines)
        runs = {_run_of(one.event) for one in self.recorded if _machine_of(one.event) in wanted} - {None}
        return [one.position for one in self.recorded if _machine_of(one.event) in wanted or _run_of(one.event) in runs]

    @cached_property
    def disk_points(self) -> dict[UUID, dict[int, tuple[events.RestorePointCommitted, DiskPoint]]]:
        """The points of all disks by seq."""
        found: dict[UUID, dict[int, tuple[events.RestorePointCommitted, DiskPoint]]] = {}
        for _, event in self.every_point:
            for disk in event.disks:
                found.setdefault(disk.disk_id, {})[disk.seq] = event, disk
        return found

    def chain(self, disk_id: UUID, seq: int | None) -> list[UUID]:
        """The restore points that a disk is made of, oldest first."""
        found: list[UUID] = []
        while seq is not None:
            event, disk = self.disk_points[disk_id][seq]
            found.append(event.restore_point_id)
            seq = disk.parent_seq
        return found[::-1]

    def map(self, disk_id: UUID, seq: int) -> Map:
        """What each block of a disk is; blocks that are not there were never written."""
        if (disk_id, seq) not in self._maps:
            self._maps[disk_id, seq] = self._laid(disk_id, seq)
        return self._maps[disk_id, seq]

    def _laid(self, disk_id: UUID, seq: int) -> Map:
        _, disk = self.disk_points[disk_id][seq]
        blocks = dict(self.map(disk_id, disk.parent_seq)) if disk.parent_seq is not None else {}
        count = -(-disk.size_bytes // disk.chunk_bytes)
        blocks = {block: cell for block, cell in blocks.items() if block < count}
        batches = [one.event for one in self.recorded if isinstance(one.event, events.Batch)]
        for batch in (one for one in batches if (one.run_id, one.disk_id) == (disk.run_id, disk_id)):
            if isinstance(batch, events.ZerosRecorded):
                runs = decode_zeros(batch.batch)
                for start, length in zip(runs.starts.tolist(), runs.counts.tolist(), strict=True):
                    blocks |= dict.fromkeys(range(start, start + length), "zero")
            elif isinstance(batch, events.ChunksRecorded):
                rows = decode_chunks(batch.batch)
                for index, block in enumerate(rows.blocks.tolist()):
                    pack = rows.packs[rows.pack_index[index]].hex()
                    place = int(rows.offsets[index]), int(rows.stored[index])
                    blocks[block] = (seq, rows.digests[index].tobytes(), pack, *place)
        return blocks

    def references(self, digest: bytes) -> list[tuple[str, int, int, int]]:
        """(disk, seq, first block, blocks) that points which were not deleted wrote."""
        return self._runs(lambda cell, seq, event: cell[1] == digest and cell[0] == seq and self._kept(event))

    def written(self, digest: bytes) -> list[tuple[str, int, int, int]]:
        """The same, deleted points included."""
        return self._runs(lambda cell, seq, event: cell[1] == digest and cell[0] == seq)

    def inherited(self, digest: bytes) -> list[tuple[str, int, int]]:
        """(disk, seq, block) of all points that hold the chunk, deleted ones or not."""
        held = self._runs(lambda cell, seq, event: cell[1] == digest)
        return [(disk, seq, block + more) for disk, seq, block, count in held for more in range(count)]

    def _kept(self, event: events.RestorePointCommitted) -> bool:
        return event.restore_point_id not in self.deleted

    def _runs(
        self, wanted: Callable[[tuple[int, bytes, str, int, int], int, events.RestorePointCommitted], bool]
    ) -> list[tuple[str, int, int, int]]:
        found = []
        for disk_id, points in self.disk_points.items():
            for seq, (event, _) in points.items():
                if event.originator_id not in self.machines:
                    continue
                cells = self.map(disk_id, seq).items()
                blocks = sorted(block for block, cell in cells if isinstance(cell, tuple) and wanted(cell, seq, event))
                for _, run in groupby(enumerate(blocks), key=lambda pair: pair[1] - pair[0]):
                    some = [block for _, block in run]
                    found.append((str(disk_id), seq, some[0], len(some)))
        return sorted(found)

    def covered(self, machine_id: UUID) -> list[CoveredPoint]:
        """The restore points of a machine as coverage sees them."""
        found = []
        for _, event in self.points:
            if event.originator_id == machine_id:
                check, tombstone = (which.get(event.restore_point_id) for which in (self.verified, self.deleted))
                found.append(
                    CoveredPoint(
                        restore_point_id=event.restore_point_id,
                        recorded_at=event.recorded_at,
                        result=event.result,
                        left_out=tuple(disk.label for disk in event.left_out),
                        verified_at=check and check.recorded_at,
                        verified_result=check and check.result,  # type: ignore[union-attr]  # a verification
                        deleted_at=tombstone and tombstone.recorded_at,
                    )
                )
        return found

    def coverage(self, machine_id: UUID, start: datetime, end: datetime, rpo: timedelta) -> CoverageReport:
        """The report on a machine."""
        seen = min(event.recorded_at for _, event in self._all(events.MachineSeen) if event.originator_id == machine_id)
        return assess(self.covered(machine_id), start=start, end=end, rpo=rpo, known_since=seen)

    def days(self, machine_id: UUID, first: date, last: date) -> list[Day]:
        """The days of a machine."""
        return day_states(self.covered(machine_id), first, last)

    def disks_now(self, machine_id: UUID) -> list[tuple[UUID, str, int, bool]]:
        """All disks a machine ever had: id, label, size, and whether it still has it; by label."""
        found = {}
        for _, event in self._all(events.MachineSeen):
            if isinstance(event, events.MachineSeen) and event.originator_id == machine_id:
                found = {key: (*row[:3], False) for key, row in found.items()}
                found |= {disk.disk_id: (disk.disk_id, disk.label, disk.size_bytes, True) for disk in event.disks}
        return sorted(found.values(), key=lambda row: (row[1], str(row[0])))

    def failing(self) -> dict[str, int]:
        """How many machines of each source failed last."""
        last: dict[UUID, bool] = {}
        for one in self.recorded:
            if isinstance(one.event, events.BackupFailed | events.BackupCompleted):
                last[one.event.machine_id] = isinstance(one.event, events.BackupFailed)
        found: dict[str, int] = {}
        for machine_id, (_, event) in self.machines.items():
            if last.get(machine_id):
                found[event.source] = found.get(event.source, 0) + 1
        return found


def _run_of(event: events.Event) -> UUID | None:
    return event.originator_id if isinstance(event, IN_RUN_STREAMS) else getattr(event, "run_id", None)


def _machine_of(event: events.Event) -> UUID | None:
    return event.originator_id if isinstance(event, IN_MACHINE_STREAMS) else getattr(event, "machine_id", None)


def _about(event: events.Event, point: UUID) -> bool:
    if isinstance(event, events.RestorePointVerified):
        return event.originator_id == point
    kinds = events.RestorePointCommitted | events.RestorePointDeleted
    return isinstance(event, kinds) and event.restore_point_id == point

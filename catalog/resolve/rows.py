"""What the resolver reads: a disk's chain of points, and the rows that each point wrote.

Imports `catalog.domain` and `storage`. Both sources (the index, the events) give the same rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from catalog.domain.facts import DiskPoint
from storage.chunks.rows import ChunkRows, ZeroRuns
from storage.errors import Corrupt, NotFound


@dataclass(frozen=True, slots=True)
class Delta:
    """Some of what point `seq` wrote. Several of one point never name the same block.

    `rows.digests` is empty when digests were not asked for.
    """

    seq: int
    rows: ChunkRows
    zeros: ZeroRuns


class RowSource(Protocol):
    """Where points and their rows come from."""

    def chain(self, disk_id: UUID, seq: int) -> tuple[DiskPoint, ...]:
        """The full and every point after it up to `seq`, oldest first. Raises NotFound, Corrupt."""

    def deltas(self, points: Sequence[DiskPoint], first_block: int, count: int, *, digests: bool) -> Iterator[Delta]:
        """Yield what `points` wrote to these blocks, in the points' order, one at least for each. Raises Corrupt."""


class PointBook:
    """The points of disks as `read` finds them; what is known of a point never changes, so each is read once."""

    def __init__(self, read: Callable[[UUID], dict[int, DiskPoint]]) -> None:
        self._read = read
        self._points: dict[UUID, dict[int, DiskPoint]] = {}

    def chain(self, disk_id: UUID, seq: int) -> tuple[DiskPoint, ...]:
        """The full and every point after it up to `seq`, oldest first. Raises NotFound, Corrupt."""
        if seq not in self._points.get(disk_id, {}):
            self._points[disk_id] = self._read(disk_id)
        return walk(self._points[disk_id], disk_id, seq)


def blocks_of(point: DiskPoint) -> int:
    """How many blocks the disk had at this point."""
    return -(-point.size_bytes // point.chunk_bytes)


def walk(points: Mapping[int, DiskPoint], disk_id: UUID, seq: int) -> tuple[DiskPoint, ...]:
    """Follow parents from `seq` back to its full. Raises NotFound; Corrupt when a link is missing or turns around."""
    chain: list[DiskPoint] = []
    wanted: int | None = seq
    while wanted is not None:
        point = points.get(wanted)
        if point is None and not chain:
            raise NotFound(f"disk {disk_id} has no point {seq}", code="point-unknown")
        if point is None:
            raise _broken(disk_id, seq, f"point {wanted}, which point {chain[-1].seq} builds on, is missing")
        if chain and (point.seq >= chain[-1].seq or point.chunk_bytes != chain[-1].chunk_bytes):
            raise _broken(disk_id, seq, f"point {chain[-1].seq} cannot build on point {point.seq}")
        chain.append(point)
        wanted = point.parent_seq
    return tuple(reversed(chain))


def _broken(disk_id: UUID, seq: int, why: str) -> Corrupt:
    return Corrupt(f"the chain of disk {disk_id} at point {seq} is broken", code="point-chain", why=why)

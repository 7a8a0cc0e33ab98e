"""Rows from the event log alone: restores work without the index. Imports `catalog` and `storage.chunks`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from uuid import UUID

from catalog.batches import decode_chunks, decode_zeros
from catalog.domain.events import Batch, ChunksRecorded, RestorePointCommitted, ZerosRecorded
from catalog.domain.facts import DiskPoint
from catalog.log import EventLog
from catalog.resolve.blockmap import empty_zeros
from catalog.resolve.rows import Delta, PointBook
from catalog.sealed import sealed_batches
from storage.chunks.rows import ChunkRows, ZeroRuns, empty_rows


class EventRows:
    """The disks of one machine, read from its stream and the batch streams of its points."""

    def __init__(self, log: EventLog, machine_id: UUID) -> None:
        self._log = log
        self._machine_id = machine_id
        self._book = PointBook(self._read_points)

    def chain(self, disk_id: UUID, seq: int) -> tuple[DiskPoint, ...]:
        """The full and every point after it up to `seq`, oldest first. Raises NotFound, Corrupt."""
        return self._book.chain(disk_id, seq)

    def deltas(self, points: Sequence[DiskPoint], first_block: int, count: int, *, digests: bool) -> Iterator[Delta]:
        """Yield what `points` wrote to these blocks; every point is read and proven whole. Digests come along."""
        for point in points:
            yield Delta(point.seq, empty_rows(), empty_zeros())
            for batch in sealed_batches(self._log, point):
                if batch.last >= first_block and batch.first < first_block + count:
                    yield from _delta(batch, first_block, first_block + count)

    def _read_points(self, disk_id: UUID) -> dict[int, DiskPoint]:
        return {
            disk.seq: disk
            for event in self._log.stream(self._machine_id)
            if isinstance(event, RestorePointCommitted)
            for disk in event.disks
            if disk.disk_id == disk_id
        }


def _delta(batch: Batch, start: int, end: int) -> Iterator[Delta]:
    if isinstance(batch, ChunksRecorded):
        yield Delta(batch.seq, _inside(decode_chunks(batch.batch), start, end), empty_zeros())
    elif isinstance(batch, ZerosRecorded):
        zeros: ZeroRuns = decode_zeros(batch.batch)
        yield Delta(batch.seq, empty_rows(), zeros)


def _inside(rows: ChunkRows, start: int, end: int) -> ChunkRows:
    keep = (rows.blocks >= start) & (rows.blocks < end)
    if keep.all():
        return rows
    return ChunkRows(
        rows.blocks[keep],
        rows.digests[keep],
        rows.packs,
        rows.pack_index[keep],
        rows.offsets[keep],
        rows.stored[keep],
    )

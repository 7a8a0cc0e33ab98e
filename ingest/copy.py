"""Copying one disk: blocks into the chunk store, rows into the batch stream, totals out.

Imports `adapters.port`, `catalog` and `storage`. Rows are saved only with, or after, the packs they cite;
nothing of it is visible before the restore point is committed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from uuid import UUID

import numpy as np

from adapters.port import BlockReader, Extent
from catalog.batches import SCHEMA_ID, batch_leaf, encode_chunks, encode_extents, encode_zeros
from catalog.domain.events import Batch, ChunksRecorded, ExtentsRecorded, ZerosRecorded
from catalog.domain.ids import batch_stream
from catalog.log import EventLog
from catalog.merkle import merkle_root
from ingest.blocks import BlockRun, block_runs
from ingest.streams import Clock, PackRecorder, StreamWriter
from storage.chunks.pipeline import Baseline
from storage.chunks.rows import ChunkRows, ZeroRuns
from storage.chunks.writer import ChunkWriter
from storage.packs.writer import SealedPack

BATCH_ROWS = 10_000
MAX_PENDING = 16


@dataclass(slots=True)
class Totals:
    """What copying one disk came to."""

    changed_bytes: int = 0
    read_bytes: int = 0
    new_chunks: int = 0
    stored_bytes: int = 0
    chunk_rows: int = 0
    zero_blocks: int = 0
    extent_rows: int = 0
    leaves: list[bytes] = field(default_factory=list)

    @property
    def merkle_root(self) -> bytes:
        """The RFC 6962 root over the batches, in stream order."""
        return merkle_root(self.leaves)


class BatchRecorder:
    """Writes the row batches of one disk of one run."""

    def __init__(
        self, log: EventLog, packs: PackRecorder, clock: Clock, *, run_id: UUID, disk_id: UUID, seq: int
    ) -> None:
        self._packs = packs
        self._stream = StreamWriter(log, batch_stream(run_id, disk_id), clock)
        self._common = {"run_id": run_id, "disk_id": disk_id, "seq": seq, "schema_id": SCHEMA_ID}
        self._run_id = run_id
        self._pending: list[Batch] = []
        self.totals = Totals()

    def extents(self, extents: list[Extent]) -> None:
        """Add reported extents; they are saved with the next chunk rows."""
        if not extents:
            return
        starts = np.array([extent.start for extent in extents], np.uint64)
        lengths = np.array([extent.length for extent in extents], np.uint64)
        zeros = np.array([extent.zero for extent in extents], np.bool_)
        self.totals.extent_rows += len(extents)
        self._add(
            ExtentsRecorded, len(extents), extents[0].start, extents[-1].end - 1, encode_extents(starts, lengths, zeros)
        )

    def chunks(self, rows: ChunkRows) -> None:
        """Add chunk rows."""
        if len(rows):
            self.totals.chunk_rows += len(rows)
            self._add(ChunksRecorded, len(rows), int(rows.blocks[0]), int(rows.blocks[-1]), encode_chunks(rows))

    def zeros(self, runs: ZeroRuns) -> None:
        """Add runs of zero blocks."""
        if len(runs):
            self.totals.zero_blocks += runs.blocks
            last = int(runs.starts[-1]) + int(runs.counts[-1]) - 1
            self._add(ZerosRecorded, len(runs), int(runs.starts[0]), last, encode_zeros(runs))

    def save(self, sealed: tuple[SealedPack, ...] = ()) -> None:
        """Make what was added durable, together with the packs it cites."""
        if self._pending or sealed:
            self._packs.save(sealed, self._run_id, *self._pending)
            self._pending.clear()

    def save_when_large(self) -> None:
        """Save between chunk rows too, so that a million extents do not wait in memory."""
        if len(self._pending) >= MAX_PENDING:
            self.save()

    def _add(self, kind: type[Batch], rows: int, first: int, last: int, batch: bytes) -> None:
        event = self._stream.make(kind, rows=rows, first=first, last=last, batch=batch, **self._common)
        self.totals.leaves.append(batch_leaf(event))
        self._pending.append(event)


class DiskCopy:
    """One pass over the extents of one disk."""

    def __init__(
        self,
        recorder: BatchRecorder,
        *,
        chunk_bytes: int,
        progress: Callable[[int], None],
        stop: Callable[[], bool],
    ) -> None:
        self._recorder = recorder
        self._chunk_bytes = chunk_bytes
        self._progress = progress
        self._stop = stop
        self._extents: list[Extent] = []
        self._zeros: list[tuple[int, int]] = []

    def run(
        self,
        writer: ChunkWriter,
        reader: BlockReader,
        extents: Iterable[Extent],
        baseline: Baseline | None,
        *,
        tracked: bool,
    ) -> Totals:
        """Copy what `extents` touch. With a baseline, blocks equal to it leave no row.

        `tracked` extents are changes, and a change to zero is one; else they are the whole disk.
        """
        totals = self._recorder.totals
        runs = self._to_read(self._observe(extents, tracked, baseline is None), reader.size_bytes, baseline)
        written = writer.write(reader, runs, baseline=baseline, progress=self._progress, stop=self._stop)
        for piece in written:
            self._flush_small()
            self._recorder.chunks(piece.rows)
            self._recorder.zeros(piece.zeros)
            self._recorder.save(piece.packs)
            totals.read_bytes += piece.read_bytes
            totals.new_chunks += piece.new_chunks
            totals.stored_bytes += piece.stored_bytes
            if baseline is not None:
                totals.changed_bytes += piece.changed_blocks * self._chunk_bytes
        self._flush_small()
        self._recorder.save()
        totals.changed_bytes = min(totals.changed_bytes, reader.size_bytes)  # the last block may be short
        return totals

    def _to_read(
        self, extents: Iterable[Extent], size_bytes: int, baseline: Baseline | None
    ) -> Iterator[tuple[int, int]]:
        for run in block_runs(extents, size_bytes=size_bytes, chunk_bytes=self._chunk_bytes):
            if not run.zero:
                yield run.first, run.count
            elif baseline is None:
                self._zero(run.first, run.count)
            else:
                self._newly_zero(run, baseline)

    def _observe(self, extents: Iterable[Extent], zeros_count: bool, data_counts: bool) -> Iterator[Extent]:
        for extent in extents:
            self._extents.append(extent)
            if len(self._extents) >= BATCH_ROWS:
                self._flush_small()
            if zeros_count if extent.zero else data_counts:
                self._recorder.totals.changed_bytes += extent.length
            yield extent

    def _newly_zero(self, run: BlockRun, baseline: Baseline) -> None:
        for first in range(run.first, run.first + run.count, 65_536):
            count = min(65_536, run.first + run.count - first)
            states, _ = baseline.window(first, count)
            held = np.flatnonzero(states)
            for group in np.split(held, np.flatnonzero(np.diff(held) > 1) + 1) if len(held) else []:
                self._zero(first + int(group[0]), len(group))
                self._recorder.totals.changed_bytes += len(group) * self._chunk_bytes

    def _zero(self, first: int, count: int) -> None:
        if self._zeros and sum(self._zeros[-1]) == first:
            first, count = self._zeros[-1][0], self._zeros.pop()[1] + count
        self._zeros.append((first, count))
        if len(self._zeros) >= BATCH_ROWS:
            self._flush_small()

    def _flush_small(self) -> None:
        self._recorder.extents(self._extents)
        self._extents.clear()
        if self._zeros:
            table = np.array(self._zeros, np.uint32)
            self._recorder.zeros(ZeroRuns(starts=table[:, 0].copy(), counts=table[:, 1].copy()))
            self._zeros.clear()
        self._recorder.save_when_large()

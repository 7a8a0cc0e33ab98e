"""Synthetic full: the block map of a point, written down as a new full that stands alone. No data moves.

Imports `catalog`. The map is resolved from the index; the new point cites the same packs, and later
incrementals build on it when it was made of the newest point.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from catalog.domain.events import RestorePointCommitted
from catalog.domain.facts import DiskPoint
from catalog.domain.machine import MachineState, RestorePoint
from catalog.resolve.resolver import Resolver
from ingest.configuration import repeat_configuration
from ingest.copy import BATCH_ROWS, BatchRecorder, Totals
from ingest.signals import go_on, never
from ingest.streams import StreamWriter
from ingest.wiring import Services
from storage.chunks.rows import ChunkRows, ZeroRuns
from storage.errors import Invalid


@dataclass(frozen=True, slots=True)
class DiskMapSummary:
    """What a synthetic full of one disk would hold."""

    disk: str
    disk_id: UUID
    seq: int
    chain_points: int
    size_bytes: int
    data_blocks: int
    data_bytes: int
    packs: int


def summarise(resolver: Resolver, state: MachineState, of: RestorePoint) -> list[DiskMapSummary]:
    """Resolve without recording anything."""
    return [_summary(resolver, state, point) for point in of.disks]


def _summary(resolver: Resolver, state: MachineState, point: DiskPoint) -> DiskMapSummary:
    blocks, packs = 0, set[bytes]()
    for window in resolver.windows(point.disk_id, point.seq, digests=False):
        blocks += window.data_blocks
        for rows in window.rows():
            packs.update(rows.packs)
    return DiskMapSummary(
        disk=point.label,
        disk_id=point.disk_id,
        seq=point.seq,
        chain_points=len(state.chain(point.disk_id, point.seq)),
        size_bytes=point.size_bytes,
        data_blocks=blocks,
        data_bytes=min(blocks * point.chunk_bytes, point.size_bytes),
        packs=len(packs),
    )


def synthesise(
    services: Services,
    resolver: Resolver,
    state: MachineState,
    of: RestorePoint,
    *,
    restore_point_id: UUID | None = None,
    stop: Callable[[], bool] = never,
) -> RestorePointCommitted:
    """Record the map of `of` as a new full restore point; the caller holds the machine's lock."""
    if of.origin == "synthetic":
        raise Invalid(
            f"{of.restore_point_id} is a synthetic full already",
            code="already-synthetic",
            hint="choose the point it was made of, or a later one",
        )
    run_id = services.new_id()
    disks = tuple(_record_disk(services, resolver, state, point, run_id, stop) for point in of.disks)
    repeat_configuration(services, of, run_id)
    machine = StreamWriter(services.log, state.machine_id, services.clock)
    return machine.append(
        RestorePointCommitted,
        restore_point_id=restore_point_id or services.new_id(),
        run_id=run_id,
        source=state.source,
        machine=of.machine,
        origin="synthetic",
        result=of.result,
        consistency=of.consistency,
        disks=disks,
        left_out=of.left_out,
        of_restore_point=of.restore_point_id,
        taken_at=of.taken_at,
    )


def _record_disk(
    services: Services,
    resolver: Resolver,
    state: MachineState,
    point: DiskPoint,
    run_id: UUID,
    stop: Callable[[], bool],
) -> DiskPoint:
    seq = state.next_seq(point.disk_id)
    recorder = BatchRecorder(
        services.log, services.packs, services.clock, run_id=run_id, disk_id=point.disk_id, seq=seq
    )
    for window in resolver.windows(point.disk_id, point.seq, digests=True):
        for rows in window.rows():
            go_on(stop)
            for piece in _pieces(rows):
                recorder.chunks(piece)
                recorder.save_when_large()
        for zeros in _zero_pieces(window.zeros()):
            recorder.zeros(zeros)
            recorder.save_when_large()
    recorder.save()
    return _point(point, seq, run_id, recorder.totals)


def _point(of: DiskPoint, seq: int, run_id: UUID, totals: Totals) -> DiskPoint:
    return DiskPoint(
        disk_id=of.disk_id,
        label=of.label,
        identity=of.identity,
        seq=seq,
        parent_seq=None,
        run_id=run_id,
        level="full",
        cause="synthetic",
        size_bytes=of.size_bytes,
        chunk_bytes=of.chunk_bytes,
        changed_bytes=0,
        read_bytes=0,
        new_chunks=0,
        stored_bytes=0,
        chunk_rows=totals.chunk_rows,
        zero_blocks=totals.zero_blocks,
        extent_rows=0,
        batches=len(totals.leaves),
        merkle_root=totals.merkle_root,
        base_token=of.base_token,
    )


def _pieces(rows: ChunkRows) -> list[ChunkRows]:
    return [
        ChunkRows(
            blocks=rows.blocks[at : at + BATCH_ROWS],
            digests=rows.digests[at : at + BATCH_ROWS],
            packs=rows.packs,
            pack_index=rows.pack_index[at : at + BATCH_ROWS],
            offsets=rows.offsets[at : at + BATCH_ROWS],
            stored=rows.stored[at : at + BATCH_ROWS],
        )
        for at in range(0, len(rows), BATCH_ROWS)
    ]


def _zero_pieces(zeros: ZeroRuns) -> list[ZeroRuns]:
    return [
        ZeroRuns(zeros.starts[at : at + BATCH_ROWS], zeros.counts[at : at + BATCH_ROWS])
        for at in range(0, len(zeros), BATCH_ROWS)
    ]

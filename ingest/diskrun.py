"""One disk of one run: check the change tracking, copy, and state what the disk's point is.

Imports `adapters.port` and `catalog`. Baselines come from the event log, never from the index: a fault in
the index must not decide what is backed up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import closing
from uuid import UUID

from adapters.port import BlockReader, DiskSnapshot, Extent
from catalog.domain import events as ev
from catalog.domain.facts import DiskPoint
from catalog.domain.ids import disk_id as disk_id_of
from catalog.domain.machine import MachineState
from ingest.baseline import PointBaseline
from ingest.changes import KeptChanges
from ingest.copy import BatchRecorder, DiskCopy, Totals
from ingest.plan import Full, Incremental, Plan
from ingest.progress import Progress
from ingest.sampling import sample_unchanged
from ingest.streams import StreamWriter
from ingest.transport import TransportNote
from ingest.wiring import Services


class DiskRun:
    """Copies one frozen disk according to its plan."""

    def __init__(
        self,
        services: Services,
        events: StreamWriter,
        state: MachineState,
        frozen: DiskSnapshot,
        *,
        run_id: UUID,
        progress: Progress,
        stop: Callable[[], bool],
    ) -> None:
        self._services = services
        self._events = events
        self._state = state
        self._frozen = frozen
        self._run_id = run_id
        self._progress = progress
        self._stop = stop
        self._disk_id = disk_id_of(state.machine_id, frozen.fact.key)
        self._changes = KeptChanges(frozen.changes)
        self.warnings: list[str] = []

    def copy(self, plan: Plan) -> DiskPoint:
        """Read what the plan asks for, record it, and return the disk's point."""
        way = TransportNote(self._events, self._disk_id, self._frozen)
        with closing(self._frozen.open()) as reader:
            way.compare(reader)
            if isinstance(plan, Incremental) and plan.tracked:
                plan = self._trusted(plan, reader)
            seq = self._state.next_seq(self._disk_id)
            self._record_plan(plan, seq, reader.transport)
            totals = self._copy(plan, seq, reader)
            way.compare(reader)
        self.warnings.extend(way.warnings)
        return self._point(plan, seq, totals)

    def _trusted(self, plan: Incremental, reader: BlockReader) -> Plan:
        sample = sample_unchanged(
            self._changes,
            reader,
            self._baseline(plan),
            digest_key=self._services.store.digest_key,
            chunk_bytes=self._services.config.chunk_bytes,
            random=self._services.random,
        )
        if not sample.mismatched:
            return plan
        self._events.append(
            ev.ChangeTrackingDistrusted,
            machine_id=self._state.machine_id,
            disk_id=self._disk_id,
            sampled_blocks=sample.sampled,
            mismatched_blocks=len(sample.mismatched),
            first_mismatch=sample.mismatched[0],
        )
        self.warnings.append(
            f"{self._frozen.fact.label}: change tracking missed block {sample.mismatched[0]} "
            f"({len(sample.mismatched)} of {sample.sampled} sampled); earlier incrementals of this disk are doubtful"
        )
        return Full("tracking-distrusted")

    def _copy(self, plan: Plan, seq: int, reader: BlockReader) -> Totals:
        recorder = BatchRecorder(
            self._services.log,
            self._services.packs,
            self._services.clock,
            run_id=self._run_id,
            disk_id=self._disk_id,
            seq=seq,
        )
        copy = DiskCopy(
            recorder,
            chunk_bytes=self._services.config.chunk_bytes,
            progress=self._progress.advance,
            stop=self._stop,
        )
        extents, baseline = self._extents(plan, reader)
        self._progress.disk(self._frozen.fact.label, reader.size_bytes)
        with self._services.store.writer() as writer:
            tracked = isinstance(plan, Incremental) and plan.tracked
            return copy.run(writer, reader, extents, baseline, tracked=tracked)

    def _extents(self, plan: Plan, reader: BlockReader) -> tuple[Iterable[Extent], PointBaseline | None]:
        if isinstance(plan, Incremental) and plan.tracked:
            return self._changes, None
        return reader.extents(), self._baseline(plan) if isinstance(plan, Incremental) else None

    def _baseline(self, plan: Incremental) -> PointBaseline:
        return PointBaseline(self._services.catalog.log_resolver(self._state.machine_id), plan.base)

    def _record_plan(self, plan: Plan, seq: int, transport: str) -> None:
        incremental = isinstance(plan, Incremental)
        self._events.append(
            ev.DiskPlanned,
            disk_id=self._disk_id,
            seq=seq,
            parent_seq=plan.base.seq if isinstance(plan, Incremental) else None,
            level="incremental" if incremental else "full",
            cause=plan.cause,
            method=("tracked" if plan.tracked else "compare") if isinstance(plan, Incremental) else "read_all",
            transport=transport,
        )

    def _point(self, plan: Plan, seq: int, totals: Totals) -> DiskPoint:
        fact = self._frozen.fact
        return DiskPoint(
            disk_id=self._disk_id,
            label=fact.label,
            identity=fact.identity,
            seq=seq,
            parent_seq=plan.base.seq if isinstance(plan, Incremental) else None,
            run_id=self._run_id,
            level="incremental" if isinstance(plan, Incremental) else "full",
            cause=plan.cause,
            size_bytes=fact.size_bytes,
            chunk_bytes=self._services.config.chunk_bytes,
            changed_bytes=totals.changed_bytes,
            read_bytes=totals.read_bytes,
            new_chunks=totals.new_chunks,
            stored_bytes=totals.stored_bytes,
            chunk_rows=totals.chunk_rows,
            zero_blocks=totals.zero_blocks,
            extent_rows=totals.extent_rows,
            batches=len(totals.leaves),
            merkle_root=totals.merkle_root,
            base_token=self._frozen.base_token,
        )

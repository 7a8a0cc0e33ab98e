"""Backing up one machine: the steps, in the order that a crash at any point can be cleaned up after.

Imports all packages; written against `adapters.port` alone. An intent is recorded before each effect at
the source; nothing is visible before RestorePointCommitted; the bases of the last point stay good until then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from msgspec import structs

from adapters.errors import AdapterError
from adapters.port import DiskSnapshot, MachineFact, Snapshot, SnapshotRequest, Source
from catalog.domain import events as ev
from catalog.domain.facts import DiskLeftOut, DiskPoint, Result
from catalog.domain.ids import disk_id as disk_id_of
from catalog.domain.machine import MachineState, RestorePoint
from ingest.cleanup import close_dead_runs, release
from ingest.configuration import keep_configuration
from ingest.diskrun import DiskRun
from ingest.plan import Full, Plan, after_snapshot, base_token, plan_disk
from ingest.progress import Progress
from ingest.signals import Interrupted, go_on
from ingest.streams import StreamWriter, despite_others
from ingest.wiring import Services
from storage.errors import HoldfastError, Invalid
from storage.files import storage_error


@dataclass(frozen=True, slots=True)
class BackupReport:
    """What one run of one machine came to."""

    restore_point_id: UUID
    machine: str
    result: Result
    recorded_at: datetime
    consistency: str
    disks: tuple[DiskPoint, ...]
    left_out: tuple[DiskLeftOut, ...]
    warnings: tuple[str, ...]

    @classmethod
    def of(cls, point: RestorePoint, warnings: Sequence[str]) -> BackupReport:
        """The report on a restore point."""
        return cls(
            point.restore_point_id,
            point.machine,
            point.result,
            point.recorded_at,
            point.consistency,
            point.disks,
            point.left_out,
            tuple(warnings),
        )


class MachineBackup:
    """One run, to make `restore_point_id`: construct, then call `run` once, holding the machine's lock."""

    def __init__(
        self,
        services: Services,
        source: Source,
        fact: MachineFact,
        state: MachineState,
        *,
        restore_point_id: UUID,
        full_requested: bool,
        progress: Progress,
        stop: Callable[[], bool],
    ) -> None:
        self._services = services
        self._source = source
        self._fact = fact
        self._state = state
        self._restore_point_id = restore_point_id
        self._full_requested = full_requested
        self._progress = progress
        self._stop = stop
        self._run_id = services.new_id()
        self._label = f"holdfast-{self._run_id.hex}"
        self._machine = StreamWriter(services.log, state.machine_id, services.clock)
        self._events = StreamWriter(services.log, self._run_id, services.clock)
        self._warnings: list[str] = []
        self._missing: Callable[[], tuple[DiskLeftOut, ...]] = tuple

    def run(self, *, missing: Callable[[], tuple[DiskLeftOut, ...]] = tuple) -> BackupReport:
        """Take the backup. On failure the source and its change tracking are as before, and the run says why.

        `missing` tells, once everything is read, what turned out not to be in it.
        """
        self._missing = missing
        self._open()
        try:
            return self._steps()
        except Interrupted:
            self._end_early("interrupted", ev.BackupInterrupted, cause="signal")
            raise
        except (HoldfastError, AdapterError) as error:
            self._end_early("failed", ev.BackupFailed, kind=error.kind, code=error.code, why=str(error))
            raise
        except OSError as error:
            failure = storage_error(error, f"the backup of {self._fact.name} could not go on")
            self._end_early("failed", ev.BackupFailed, kind=failure.kind, code=failure.code, why=str(failure))
            raise failure from error

    def _open(self) -> None:
        self._record(
            lambda: (
                self._machine.make(ev.RunOpened, run_id=self._run_id, label=self._label),
                self._events.make(
                    ev.BackupStarted,
                    machine_id=self._state.machine_id,
                    source=self._state.source,
                    machine=self._fact.name,
                    label=self._label,
                    full_requested=self._full_requested,
                ),
            )
        )

    def _record(self, build: Callable[[], tuple[ev.Event, ...]]) -> None:
        """Save events of both streams at once. Whoever sees the machine changed writes to its stream meanwhile."""

        def attempt() -> None:
            self._machine.resync()
            self._events.resync()
            self._services.log.save(*build())

        despite_others(attempt)

    def _closed(self, outcome: str) -> ev.Event:
        return self._machine.make(ev.RunClosed, run_id=self._run_id, outcome=outcome)

    def _end_early(self, outcome: str, event: type[ev.Event], **why: str) -> None:
        """Record how the run ended. A log that cannot take that must not hide why: the next run closes this one."""
        with suppress(HoldfastError):
            self._record(
                lambda: (
                    self._events.make(event, machine_id=self._state.machine_id, **why),
                    self._closed(outcome),
                )
            )

    def _steps(self) -> BackupReport:
        self._clean_leftovers()
        plans, left_out = self._plan()
        snapshot, taken_at = self._snapshot(plans)
        try:
            points = self._copy_disks(snapshot, plans)
            keep_configuration(self._services, self._state.machine_id, self._run_id, snapshot.configuration)
            committed = self._commit(
                snapshot, taken_at, _confirmed(snapshot, plans, points), (*left_out, *self._missing())
            )
        except BaseException:
            self._release(snapshot, committed=False)
            raise
        self._release(snapshot, committed=True)
        self._close_completed()
        return BackupReport.of(RestorePoint.of(committed), self._warnings)

    def _close_completed(self) -> None:
        """The restore point stands, whatever becomes of this: the next run closes the run else."""
        try:
            self._record(lambda: (self._closed("completed"),))
        except HoldfastError as error:
            self._warnings.append(f"the run's end is not recorded yet: {error}")

    def _clean_leftovers(self) -> None:
        close_dead_runs(self._services, self._state)
        for leftover in self._source.reconcile(self._fact, self._state.base_tokens()):
            self._events.append(
                ev.LeftoverCleaned, machine_id=self._state.machine_id, what=leftover.what, action=leftover.action
            )
            self._warnings.append(f"cleaned up: {leftover.what} ({leftover.action})")
        self._warnings.extend(self._services.adopt_packs())

    def _plan(self) -> tuple[dict[str, Plan], tuple[DiskLeftOut, ...]]:
        plans, left_out = {}, []
        for disk in self._fact.disks:
            identifier = disk_id_of(self._state.machine_id, disk.key)
            if disk.exclusion is not None:
                left_out.append(
                    DiskLeftOut(
                        disk_id=identifier,
                        label=disk.label,
                        reason=disk.exclusion.reason,
                        way_out=disk.exclusion.way_out,
                    )
                )
                continue
            plans[disk.key] = plan_disk(
                disk,
                self._state.base_point(identifier),
                full_requested=self._full_requested,
                chunk_bytes=self._services.config.chunk_bytes,
            )
        if not plans:
            raise Invalid(
                f"{self._fact.name} has no disk that can be backed up",
                code="no-disks",
                why="; ".join(f"{disk.label}: {disk.reason}" for disk in left_out) or "it has no disks",
                hint="; ".join(disk.way_out for disk in left_out),
            )
        return plans, tuple(left_out)

    def _snapshot(self, plans: Mapping[str, Plan]) -> tuple[Snapshot, datetime]:
        """The snapshot, and when there was one: what the restore point will say its data is from."""
        machine_id = self._state.machine_id
        disks = tuple(disk_id_of(machine_id, key) for key in plans)
        asked = self._source.consistency
        self._events.append(
            ev.SnapshotRequested, machine_id=machine_id, label=self._label, disks=disks, consistency=asked
        )
        bases = {key: base_token(plan) for key, plan in plans.items()}
        snapshot = self._source.snapshot(self._fact, SnapshotRequest(label=self._label, bases=bases, consistency=asked))
        if snapshot.fallback_cause is not None:
            self._warnings.append(
                f"{snapshot.consistency} consistency, {asked} was asked for ({snapshot.fallback_cause})"
            )
        created = self._events.append(
            ev.SnapshotCreated,
            machine_id=machine_id,
            label=self._label,
            consistency=snapshot.consistency,
            fallback_cause=snapshot.fallback_cause,
        )
        return snapshot, created.recorded_at

    def _copy_disks(self, snapshot: Snapshot, plans: Mapping[str, Plan]) -> list[DiskPoint]:
        points = []
        for key, planned in plans.items():
            frozen = snapshot.disks[key]
            points.append(self._copy_disk(frozen, after_snapshot(planned, frozen.tracking, frozen.fact.size_bytes)))
        return points

    def _copy_disk(self, frozen: DiskSnapshot, plan: Plan) -> DiskPoint:
        if isinstance(plan, Full) and plan.cause not in ("first-backup", "full-requested"):
            self._warnings.append(f"{frozen.fact.label}: read in full ({plan.cause})")
        run = DiskRun(
            self._services,
            self._events,
            self._state,
            frozen,
            run_id=self._run_id,
            progress=self._progress,
            stop=self._stop,
        )
        point = run.copy(plan)
        self._warnings.extend(run.warnings)
        go_on(self._stop)
        self._events.append(ev.DiskSealed, disk=point)
        return point

    def _commit(
        self, snapshot: Snapshot, taken_at: datetime, points: list[DiskPoint], left_out: tuple[DiskLeftOut, ...]
    ) -> ev.RestorePointCommitted:
        built: list[ev.RestorePointCommitted] = []

        def build() -> tuple[ev.Event, ...]:
            built.append(
                self._machine.make(
                    ev.RestorePointCommitted,
                    restore_point_id=self._restore_point_id,
                    run_id=self._run_id,
                    source=self._state.source,
                    machine=self._fact.name,
                    origin="backup",
                    result="partial" if left_out else "complete",
                    consistency=snapshot.consistency,
                    disks=tuple(points),
                    left_out=left_out,
                    taken_at=taken_at,
                )
            )
            about = {"machine_id": self._state.machine_id, "restore_point_id": self._restore_point_id}
            return built[-1], self._events.make(ev.BackupCompleted, **about)

        self._record(build)
        return built[-1]

    def _release(self, snapshot: Snapshot, *, committed: bool) -> None:
        self._events.resync()
        problem = release(self._events, self._state.machine_id, snapshot, committed=committed)
        if problem is not None:
            self._warnings.append(f"clean-up is pending: {problem}")


def _confirmed(snapshot: Snapshot, keys: Iterable[str], points: Sequence[DiskPoint]) -> list[DiskPoint]:
    """The points of the disks `keys` with the base tokens that a source may give as late as it confirms."""
    snapshot.confirm()
    tokens = [snapshot.disks[key].base_token for key in keys]
    return [structs.replace(point, base_token=token) for point, token in zip(points, tokens, strict=True)]

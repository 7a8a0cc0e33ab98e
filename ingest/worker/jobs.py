"""The kinds of work that can be asked for, done through the same flows as the commands.

Imports `catalog` and `ingest`. A job may be begun again at any point after its worker died: what an earlier attempt
finished is found by identifiers that follow from the task's, and is not done a second time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from adapters.errors import AdapterError
from catalog.domain.events import Event
from catalog.domain.ids import task_point_id
from catalog.domain.machine import MachineState
from catalog.domain.requests import (
    BackupRequested,
    RestoreRequested,
    SyntheticRequested,
    TaskRequest,
    VerificationRequested,
)
from ingest.backup import BackupOutcome, BackupRequest, Failure, backup, machine_lock
from ingest.signals import Interrupted
from ingest.synth import synthesise
from ingest.verify import Verifier
from ingest.wiring import Services
from ingest.worker.hand import TaskInHand
from ingest.worker.restoring import restore_below
from storage.errors import Denied, HoldfastError, NotFound

MAX_DETAIL = 2000


@dataclass(frozen=True, slots=True)
class Done:
    """What came of a task. `beside` makes events that are true only together with its end."""

    restore_points: tuple[UUID, ...]
    partial: bool = False
    detail: str = ""
    beside: Callable[[], tuple[Event, ...]] = tuple


@dataclass(frozen=True, slots=True)
class Bench:
    """What a worker has at hand: the services, and the folder that restores go below, if there is one."""

    services: Services
    restore_to: Path | None


def do_backup(bench: Bench, hand: TaskInHand, request: BackupRequested) -> Done:
    """Back up a source or a machine. What was made stands, even if the rest failed or was stopped."""
    machine = str(request.machine_id) if request.machine_id else None
    asked = BackupRequest(request.source, machine, full=request.full, task=hand.task_id)
    try:
        outcome = backup(bench.services, asked, progress=hand, stop=hand.stop)
    except (HoldfastError, AdapterError) as error:
        outcome = BackupOutcome(failures=[Failure(request.source, error)])
    if outcome.interrupted and not hand.cancelled:
        raise Interrupted
    results: dict[UUID, str] = {report.restore_point_id: report.result for report in outcome.reports}
    if outcome.interrupted or not results:
        results |= _made_before(bench.services, request, hand.task_id)
    if not results:
        raise Interrupted if outcome.interrupted else outcome.failures[0].error
    whole = request.machine_id is not None or not (outcome.failures or outcome.interrupted)
    partial = not whole or "partial" in results.values()
    return Done(tuple(results), partial, _detail(outcome))


def _made_before(services: Services, request: BackupRequested, task_id: UUID) -> dict[UUID, str]:
    """The restore points that earlier attempts made, and their results, found without the source."""
    found: dict[UUID, str] = {}
    for machine in services.catalog.machines():
        point_id = task_point_id(task_id, machine.machine_id)
        if machine.source == request.source and machine.has_made(point_id):
            point = machine.committed.get(point_id)
            found[point_id] = point.result if point else "deleted"
    return found


def _detail(outcome: BackupOutcome) -> str:
    parts = [f"{failure.machine}: {failure.error}" for failure in outcome.failures]
    for report in outcome.reports:
        parts += [f"{report.machine}: {disk.label} is not in it: {disk.reason}" for disk in report.left_out]
        parts += [f"{report.machine}: {warning}" for warning in report.warnings]
    parts += ["stopped before it was through"] * outcome.interrupted
    return "; ".join(parts)[:MAX_DETAIL]


def do_synthetic(bench: Bench, hand: TaskInHand, request: SyntheticRequested) -> Done:
    """Make the synthetic full, unless an earlier attempt did."""
    services, point_id = bench.services, task_point_id(hand.task_id, request.machine_id)
    machine = _machine(services, request.machine_id)
    if not machine.has_made(point_id):
        services.catalog.catch_up()
        with machine_lock(services, machine, "worked on", wait_until=hand.stop):
            machine = _machine(services, request.machine_id)
            of = machine.restore_point(request.restore_point_id)
            resolver = services.catalog.index_resolver()
            synthesise(services, resolver, machine, of, restore_point_id=point_id, stop=hand.stop)
    return Done((point_id,))


def do_verification(bench: Bench, hand: TaskInHand, request: VerificationRequested) -> Done:
    """Read the restore point back. What was found is recorded with the task's end, both or neither."""
    point = _machine(bench.services, request.machine_id).restore_point(request.restore_point_id)
    verifier = Verifier(bench.services, request.level, hand, hand.stop)
    findings = verifier.read(point)
    detail = f"damaged: {'; '.join(findings.problems)}"[:MAX_DETAIL] if findings.problems else ""
    return Done(
        (point.restore_point_id,),
        partial=bool(findings.problems),
        detail=detail,
        beside=lambda: (verifier.outcome(point, findings),),
    )


def do_restore(bench: Bench, hand: TaskInHand, request: RestoreRequested) -> Done:
    """Write the disks below the worker's folder, and nowhere else."""
    if bench.restore_to is None:
        raise Denied(
            "the worker has no folder to restore to",
            code="restore-folder",
            why="it was started without --restore-to",
            hint="start it with --restore-to DIR, then ask again",
        )
    cause = restore_below(bench.services, bench.restore_to, hand.task_id, request, progress=hand, stop=hand.stop)
    detail = f"resolved from the event log, not from the index: {cause}"[:MAX_DETAIL] if cause else ""
    return Done((request.restore_point_id,), detail=detail)


def _machine(services: Services, machine_id: UUID) -> MachineState:
    machine = services.catalog.machine(machine_id)
    if machine is None:
        raise NotFound(f"there is no machine {machine_id}", code="machine-unknown")
    return machine


JOBS: Mapping[type[TaskRequest], Callable[[Bench, TaskInHand, Any], Done]] = {
    BackupRequested: do_backup,
    SyntheticRequested: do_synthetic,
    RestoreRequested: do_restore,
    VerificationRequested: do_verification,
}

"""Backing up a source: its machines one after another or side by side, each under its lock, one failing alone.

Imports `adapters.port` and `catalog`. The index follows after each machine; should it fail, the restore point
stands all the same, and the outcome says what is wrong with the index.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from uuid import UUID

from adapters.errors import AdapterError
from adapters.port import MachineFact, Source
from catalog.domain.events import LeftoverCleaned
from catalog.domain.facts import DiskLeftOut
from catalog.domain.ids import task_point_id
from catalog.domain.machine import MachineState, RestorePoint
from ingest.cleanup import close_dead_runs
from ingest.deadrestores import remove_dead_restores
from ingest.flow import BackupReport, MachineBackup
from ingest.inventory import discover
from ingest.locks import exclusive
from ingest.progress import Progress
from ingest.sidebyside import side_by_side
from ingest.signals import Interrupted
from ingest.sources import connected
from ingest.streams import StreamWriter
from ingest.wiring import Services
from storage.errors import HoldfastError, NotFound


@dataclass(frozen=True, slots=True)
class Failure:
    """A machine that got no restore point, and why."""

    machine: str
    error: HoldfastError | AdapterError


@dataclass(frozen=True, slots=True)
class BackupRequest:
    """What to back up: a source, or one machine of it, by its name, key or identifier.

    A `task` makes one restore point of each machine, however often it is attempted: one that an earlier attempt made
    is found. A machine that is being worked on fails a command; a task waits for it. `parallel` machines are backed up
    at once.
    """

    source: str
    machine: str | None
    full: bool = False
    task: UUID | None = None
    parallel: int = 1


@dataclass(slots=True)
class BackupOutcome:
    """The restore points, the machines that got none, and what else there is to say."""

    reports: list[BackupReport] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    interrupted: bool = False
    index_trouble: str | None = None
    tidied: list[str] = field(default_factory=list)


def backup(
    services: Services,
    request: BackupRequest,
    *,
    progress: Progress,
    stop: Callable[[], bool],
) -> BackupOutcome:
    """Back up what was asked for. An interrupt ends it with what was reached so far.

    With `parallel` above 1 the source is asked for several of its machines at once, by as many threads.
    """
    outcome = BackupOutcome()
    with connected(services, request.source) as source:
        outcome.tidied = remove_dead_restores(services, request.source, source)
        chosen = _chosen(discover(services, request.source, source), request)

        def work(pair: tuple[MachineFact, MachineState]) -> BackupReport | Failure | None:
            return _attempt(services, source, *pair, request, progress=progress, stop=stop)

        found: dict[int, BackupReport | Failure | None] = {}
        for place, ended in side_by_side(chosen, work, at_most=request.parallel, stop=stop):
            found[place] = ended
            outcome.index_trouble = services.catalog.index_trouble()
    for _, one in sorted(found.items(), key=lambda pair: pair[0]):
        if isinstance(one, BackupReport):
            outcome.reports.append(one)
        elif one is not None:
            outcome.failures.append(one)
    outcome.interrupted = len(found) < len(chosen) or None in found.values()
    return outcome


def _attempt(
    services: Services,
    source: Source,
    fact: MachineFact,
    state: MachineState,
    request: BackupRequest,
    *,
    progress: Progress,
    stop: Callable[[], bool],
) -> BackupReport | Failure | None:
    """Back up one machine; its failure is its own. None when it was interrupted."""
    try:
        with progress.lane(fact.name) as lane:
            return backup_machine(services, source, fact, state, request, progress=lane, stop=stop)
    except (HoldfastError, AdapterError) as error:
        return Failure(fact.name, error)
    except Interrupted:
        return None


def backup_machine(
    services: Services,
    source: Source,
    fact: MachineFact,
    state: MachineState,
    request: BackupRequest,
    *,
    progress: Progress,
    stop: Callable[[], bool],
    missing: Callable[[], tuple[DiskLeftOut, ...]] = tuple,
) -> BackupReport:
    """Back up one machine, alone with it. `missing`: see MachineBackup.run."""
    point_id = task_point_id(request.task, state.machine_id) if request.task else services.new_id()
    with machine_lock(services, state, "backed up", wait_until=stop if request.task else None):
        current = services.catalog.machine(state.machine_id) or state
        if current.has_made(point_id):
            return _made_before(services, source, fact, current, current.restore_point(point_id))
        run = MachineBackup(
            services,
            source,
            fact,
            current,
            restore_point_id=point_id,
            full_requested=request.full,
            progress=progress,
            stop=stop,
        )
        return run.run(missing=missing)


def _made_before(
    services: Services, source: Source, fact: MachineFact, state: MachineState, point: RestorePoint
) -> BackupReport:
    """Clean up after the attempt that made the point, and died before it had."""
    warnings = []
    try:
        run = StreamWriter(services.log, point.run_id, services.clock)
        for leftover in source.reconcile(fact, state.base_tokens()):
            run.append(LeftoverCleaned, machine_id=state.machine_id, what=leftover.what, action=leftover.action)
            warnings.append(f"cleaned up: {leftover.what} ({leftover.action})")
        close_dead_runs(services, state)
    except (HoldfastError, AdapterError) as error:
        warnings.append(f"clean-up is pending: {error}")
    return BackupReport.of(point, warnings)


def machine_lock(
    services: Services, state: MachineState, verb: str, *, wait_until: Callable[[], bool] | None = None
) -> AbstractContextManager[None]:
    """Hold a machine for the length of a block: one piece of writing work on it at a time."""
    return exclusive(
        services.home.lock_dir,
        f"machine-{state.machine_id.hex}",
        busy=f"{state.name} is being {verb} already",
        wait_until=wait_until,
    )


def _chosen(
    found: Sequence[tuple[MachineFact, MachineState]], request: BackupRequest
) -> list[tuple[MachineFact, MachineState]]:
    if request.machine is None:
        chosen = list(found)
    else:
        chosen = [pair for pair in found if request.machine in (pair[0].name, pair[0].key, str(pair[1].machine_id))]
    if not chosen:
        wanted = f"no machine {request.machine}" if request.machine else "no machines"
        raise NotFound(
            f"{request.source} has {wanted}",
            code="machine-unknown",
            why=f"it shows: {', '.join(fact.name for fact, _ in found)}" if found else "it shows none",
            hint=f"holdfast source check {request.source}",
        )
    return chosen

"""Backing up a source: its machines one after another, each under its lock, one failing alone.

Imports `adapters.port` and `catalog`. The index follows after each machine; should it fail, the restore point
stands all the same and the next command catches up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from adapters.errors import AdapterError
from adapters.port import MachineFact, Source
from catalog.domain.machine import MachineState
from ingest.flow import BackupReport, MachineBackup
from ingest.inventory import discover
from ingest.locks import exclusive
from ingest.progress import Progress
from ingest.sources import connected
from ingest.wiring import Services
from storage.errors import HoldfastError, NotFound


@dataclass(frozen=True, slots=True)
class Failure:
    """A machine that got no restore point, and why."""

    machine: str
    error: HoldfastError | AdapterError


@dataclass(frozen=True, slots=True)
class BackupRequest:
    """What to back up: a source, or one machine of it."""

    source: str
    machine: str | None
    full: bool = False


def backup(
    services: Services,
    request: BackupRequest,
    *,
    progress: Progress,
    stop: Callable[[], bool],
) -> tuple[list[BackupReport], list[Failure]]:
    """Back up what was asked for; return the restore points and the machines that got none."""
    reports: list[BackupReport] = []
    failures: list[Failure] = []
    with connected(services, request.source) as source:
        for fact, state in _chosen(discover(services, request.source, source), request):
            try:
                reports.append(backup_machine(services, source, fact, state, request, progress=progress, stop=stop))
            except (HoldfastError, AdapterError) as error:
                failures.append(Failure(fact.name, error))
            services.catalog.catch_up()
    return reports, failures


def backup_machine(
    services: Services,
    source: Source,
    fact: MachineFact,
    state: MachineState,
    request: BackupRequest,
    *,
    progress: Progress,
    stop: Callable[[], bool],
) -> BackupReport:
    """Back up one machine, alone with it."""
    with machine_lock(services, state, "backed up"):
        current = services.catalog.machine(state.machine_id) or state
        run = MachineBackup(services, source, fact, current, full_requested=request.full, progress=progress, stop=stop)
        return run.run()


def machine_lock(services: Services, state: MachineState, verb: str) -> AbstractContextManager[None]:
    """Hold a machine for the length of a block: one piece of writing work on it at a time."""
    return exclusive(
        services.home.lock_dir, f"machine-{state.machine_id.hex}", busy=f"{state.name} is being {verb} already"
    )


def _chosen(
    found: Sequence[tuple[MachineFact, MachineState]], request: BackupRequest
) -> list[tuple[MachineFact, MachineState]]:
    if request.machine is None:
        chosen = list(found)
    else:
        chosen = [pair for pair in found if request.machine in (pair[0].name, pair[0].key)]
    if not chosen:
        wanted = f"no machine {request.machine}" if request.machine else "no machines"
        raise NotFound(
            f"{request.source} has {wanted}",
            code="machine-unknown",
            why=f"it shows: {', '.join(fact.name for fact, _ in found)}" if found else "it shows none",
        )
    return chosen

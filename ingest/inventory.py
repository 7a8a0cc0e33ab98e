"""What a source shows, as machine events: one when a machine is found or found changed, none otherwise.

Imports `adapters.port` and `catalog`.
"""

from __future__ import annotations

from functools import partial
from uuid import UUID

from adapters.port import DiskFact, MachineFact, Source
from catalog.domain.events import MachineSeen
from catalog.domain.facts import DiskSeen
from catalog.domain.ids import disk_id, machine_id, source_id
from catalog.domain.machine import MachineState
from ingest.streams import StreamWriter, despite_others
from ingest.wiring import Services


def discover(services: Services, name: str, source: Source) -> list[tuple[MachineFact, MachineState]]:
    """List the machines of a source and record what is new about them."""
    found = []
    identifier = source_id(services.config.repository_id, name)
    for fact in source.inventory():
        despite_others(partial(_record, services, name, identifier, fact))
        state = services.catalog.machine(machine_id(identifier, fact.key))
        if state is not None:
            found.append((fact, state))
    return found


def _record(services: Services, name: str, source: UUID, fact: MachineFact) -> None:
    stream = machine_id(source, fact.key)
    state = services.catalog.machine(stream)
    seen = tuple(_disk_seen(stream, disk) for disk in fact.disks)
    if state is None or (state.name, state.disks) != (fact.name, seen):
        StreamWriter(services.log, stream, services.clock).append(
            MachineSeen, source_id=source, source=name, key=fact.key, name=fact.name, disks=seen
        )


def _disk_seen(machine: UUID, fact: DiskFact) -> DiskSeen:
    return DiskSeen(
        disk_id=disk_id(machine, fact.key),
        key=fact.key,
        label=fact.label,
        size_bytes=fact.size_bytes,
        identity=fact.identity,
        tracking=fact.tracking,
        granularity_bytes=fact.granularity_bytes,
        excluded_reason=fact.exclusion.reason if fact.exclusion else None,
        way_out=fact.exclusion.way_out if fact.exclusion else None,
    )

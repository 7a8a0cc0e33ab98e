"""Taking snapshots in tests: the shortest way from a simulator to a frozen disk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from adapters.frozendisk import FrozenDisk
from adapters.port import MachineFact, SnapshotRequest
from adapters.xen.records import Vdi, vdi_of
from adapters.xen.snapshot import XenSnapshot
from adapters.xen.source import XenSource
from tests.conformance.source_harness import read_by_extents, reading
from tests.support.xapi.simulator import XapiSimulator

LABEL = "holdfast-test"


def machine_named(source: XenSource, name: str) -> MachineFact:
    """Find a machine of the inventory by its name."""
    return next(machine for machine in source.inventory() if machine.name == name)


def request(machine: MachineFact, bases: Mapping[str, str | None] | None = None) -> SnapshotRequest:
    """Ask for all disks that can be had, with the given bases."""
    keys = [disk.key for disk in machine.disks if disk.exclusion is None]
    return SnapshotRequest(LABEL, {key: (bases or {}).get(key) for key in keys})


@contextmanager
def frozen(
    source: XenSource, name: str, bases: Mapping[str, str | None] | None = None, *, committed: bool = True
) -> Iterator[XenSnapshot]:
    """A snapshot of all disks, released in the end."""
    machine = machine_named(source, name)
    snapshot = source.snapshot(machine, request(machine, bases))
    try:
        yield snapshot
    finally:
        snapshot.release(committed=committed)


def bases_of(source: XenSource, name: str, bases: Mapping[str, str | None] | None = None) -> dict[str, str]:
    """Take a snapshot and return its base tokens."""
    with frozen(source, name, bases) as snapshot:
        return {key: disk.base_token for key, disk in snapshot.disks.items() if disk.base_token is not None}


def rebuilt(disk: FrozenDisk, before: bytes) -> bytes:
    """What `before` becomes with the disk's changes."""
    onto = bytearray(before.ljust(disk.fact.size_bytes, b"\0"))
    with reading(disk) as reader:
        return bytes(read_by_extents(reader, disk.changes(), onto))


def ours(pool: XapiSimulator) -> list[Vdi]:
    """All virtual disks in the pool that are of snapshots."""
    found = [vdi_of(ref, pool.record("VDI", ref)) for ref in pool.records.find("VDI", is_a_snapshot=True)]
    return sorted(found, key=lambda vdi: vdi.uuid)

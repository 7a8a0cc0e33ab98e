"""Taking snapshots in tests: the shortest way from a simulator to a frozen disk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from adapters.port import MachineFact, SnapshotRequest
from adapters.vmware.snapshot import VmwareSnapshot
from adapters.vmware.source import VmwareSource

LABEL = "holdfast-test"


def machine_named(source: VmwareSource, name: str) -> MachineFact:
    """Find a machine of the inventory by its name."""
    return next(machine for machine in source.inventory() if machine.name == name)


def request(
    machine: MachineFact, bases: Mapping[str, str | None] | None = None, *, consistency: str = "crash"
) -> SnapshotRequest:
    """Ask for all disks that can be had, with the given bases."""
    keys = [disk.key for disk in machine.disks if disk.exclusion is None]
    return SnapshotRequest(LABEL, {key: (bases or {}).get(key) for key in keys}, consistency)


@contextmanager
def frozen(
    source: VmwareSource, name: str, bases: Mapping[str, str | None] | None = None, *, consistency: str = "crash"
) -> Iterator[VmwareSnapshot]:
    """A snapshot of all disks, released in the end."""
    machine = machine_named(source, name)
    snapshot = source.snapshot(machine, request(machine, bases, consistency=consistency))
    try:
        yield snapshot
    finally:
        snapshot.release(committed=True)


def bases_of(source: VmwareSource, name: str) -> dict[str, str | None]:
    """Take a snapshot and return its base tokens."""
    with frozen(source, name) as snapshot:
        return {key: disk.base_token for key, disk in snapshot.disks.items()}

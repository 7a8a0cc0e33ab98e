"""Backups of a simulated machine as a flow takes them, and what they read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from adapters.hyperv.snapshot import HypervDisk, HypervSnapshot
from adapters.hyperv.source import HypervSource
from adapters.port import MachineFact, SnapshotRequest, Tracked, Untracked
from tests.conformance.source_harness import read_by_extents

LABEL = "holdfast-run"
Bases = Mapping[str, str | None]


@dataclass
class Point:
    """What a run read of each disk, and the bases of the next."""

    contents: dict[str, bytes]
    bases: dict[str, str | None]
    tracking: dict[str, Tracked | Untracked]
    changed_bytes: dict[str, int]


def machine_of(source: HypervSource, key: str) -> MachineFact:
    """A machine of the inventory."""
    return next(machine for machine in source.inventory() if machine.key == key)


def freeze(source: HypervSource, key: str, bases: Bases | None = None) -> HypervSnapshot:
    """Take a snapshot of all disks that can be protected."""
    machine = machine_of(source, key)
    known = bases or {}
    wanted = {disk.key: known.get(disk.key) for disk in machine.disks if disk.exclusion is None}
    return source.snapshot(machine, SnapshotRequest(LABEL, wanted, source.consistency))


def back_up(source: HypervSource, key: str, last: Point | None = None) -> Point:
    """Reconcile, read what changed (or all), confirm and release, as the flow does."""
    bases = last.bases if last else {}
    source.reconcile(machine_of(source, key), {disk: base for disk, base in bases.items() if base is not None})
    snapshot = freeze(source, key, bases)
    point = read_point(snapshot, last)
    snapshot.confirm()
    point.bases = {disk: frozen.base_token for disk, frozen in snapshot.disks.items()}
    snapshot.release(committed=True)
    return point


def read_point(snapshot: HypervSnapshot, last: Point | None) -> Point:
    """Read the snapshot on top of the last point."""
    point = Point({}, {}, {}, {})
    for disk, frozen in snapshot.disks.items():
        point.tracking[disk] = frozen.tracking
        point.contents[disk], point.changed_bytes[disk] = _read(frozen, last.contents.get(disk) if last else None)
    return point


def _read(frozen: HypervDisk, before: bytes | None) -> tuple[bytes, int]:
    size = frozen.fact.size_bytes
    reader = frozen.open()
    try:
        if isinstance(frozen.tracking, Tracked) and before is not None:
            changes = list(frozen.changes())
            return bytes(read_by_extents(reader, changes, bytearray(before))), sum(extent.length for extent in changes)
        return bytes(read_by_extents(reader, reader.extents(), bytearray(size))), size
    finally:
        reader.close()

"""Machines and their disks as last seen. Imports this package and `storage.errors`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

import numpy as np

from catalog.access.caller import Scope
from catalog.queries.asked import Asked, Key, Page, page
from catalog.queries.moment import KnownMachine, Moment, Rows, optional_time, time_of
from catalog.queries.names import pick_machine
from catalog.queries.rows import MachineRow, SeenDiskRow
from catalog.queries.warm import NULL


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept of the machines, each by machine number; `last` is the row of the last restore point, or -1."""

    points: Sequence[int]
    stored: Sequence[int]
    last: Sequence[int]
    verified_at: Sequence[int]
    first_seen: Sequence[int]
    disks: Mapping[int, tuple[int, int, int]]


def machines(moment: Moment, asked: Asked, name: str | None) -> Page[MachineRow]:
    """See `CatalogReads.machines`."""
    known = moment.visible_machines(asked.scope)
    if name is not None:
        wanted = name.casefold()
        known = [machine for machine in known if wanted in f"{machine.source}/{machine.name}".casefold()]
    return page(asked, moment.position, known, _key, lambda machine: _row(moment, machine))


def machine(moment: Moment, scope: Scope, machine_id: UUID) -> MachineRow:
    """See `CatalogReads.machine`."""
    return _row(moment, moment.machine(scope, machine_id))


def find_machine(moment: Moment, scope: Scope, text: str) -> MachineRow:
    """See `CatalogReads.find_machine`."""
    return _row(moment, pick_machine(text, moment.visible_machines(scope)))


def disks(moment: Moment, asked: Asked, machine_id: UUID) -> Page[SeenDiskRow]:
    """See `CatalogReads.disks`."""
    known = moment.machine(asked.scope, machine_id)
    table = moment.table("disks")
    last = moment.last_rows("disks", "disk_id")
    last = last[last >= 0]
    rows = last[table["machine_id"][last] == known.number].tolist()
    found = sorted(
        (moment.text(int(table["label"][row])), moment.text(int(table["disk_id"][row]), "disk"), row) for row in rows
    )
    present = moment.table("machines")["position"][known.row]
    points = moment.table("disk_points")["disk_id"]

    def row_of(item: tuple[str, str, int]) -> SeenDiskRow:
        label, disk_id, row = item
        position = int(table["position"][row])
        return SeenDiskRow(
            disk_id=UUID(disk_id),
            machine_id=machine_id,
            label=label,
            size_bytes=int(table["size_bytes"][row]),
            tracking=moment.text(int(table["tracking"][row])),
            excluded_reason=moment.optional(int(table["excluded_reason"][row])),
            way_out=moment.optional(int(table["way_out"][row])),
            present=position == int(present),
            points=int(np.count_nonzero(points == table["disk_id"][row])),
            recorded_at=time_of(int(table["recorded_at"][row])),
            position=position,
        )

    return page(asked, moment.position, found, lambda item: item[:2], row_of)


def kept_of(moment: Moment) -> Kept:
    """Work out what is kept of all machines, once for each moment."""
    return moment.once("kept", lambda: _kept(moment))


def _kept(moment: Moment) -> Kept:
    points, machines_table = moment.table("restore_points"), moment.table("machines")
    alive = np.flatnonzero(moment.deleted_rows < 0)
    number = points["machine_id"][alive]
    size = len(moment.words("machine"))
    last = np.full(size, -1, np.int64)
    last[number] = alive
    stored = np.zeros(size, np.int64)
    np.add.at(stored, number, points["stored_bytes"][alive])
    first = np.full(size, NULL, np.int64)
    first[machines_table["machine_id"][::-1]] = machines_table["recorded_at"][::-1]
    return Kept(
        points=np.bincount(number, minlength=size).tolist(),
        stored=stored.tolist(),
        last=last.tolist(),
        verified_at=_verified_at(moment, alive, number, size).tolist(),
        first_seen=first.tolist(),
        disks=_disks_now(moment),
    )


def _verified_at(moment: Moment, alive: Rows, number: Rows, size: int) -> Rows:
    """When a restore point of each machine was last verified."""
    found = np.full(size, NULL, np.int64)
    verified = moment.verified_rows[alive]
    times = moment.table("verifications")["recorded_at"][verified[verified >= 0]]
    np.maximum.at(found, number[verified >= 0], times)
    return found


def _disks_now(moment: Moment) -> dict[int, tuple[int, int, int]]:
    """The disks of each machine when it was last seen: number of all, of excluded ones, bytes."""
    table = moment.table("disks")
    seen = moment.last_rows("machines", "machine_id")
    known = table["machine_id"]
    current = np.flatnonzero(table["position"] == moment.table("machines")["position"][seen[known]])
    found: dict[int, tuple[int, int, int]] = {}
    columns = (known, table["excluded_reason"], table["size_bytes"])
    for number, excluded, size in zip(*(column[current].tolist() for column in columns), strict=True):
        disks_before, excluded_before, size_before = found.get(number, (0, 0, 0))
        found[number] = disks_before + 1, excluded_before + (excluded >= 0), size_before + size
    return found


def _key(machine: KnownMachine) -> Key:
    return machine.key


def _row(moment: Moment, known: KnownMachine) -> MachineRow:
    kept, number = kept_of(moment), known.number
    table, points = moment.table("machines"), moment.table("restore_points")
    last = kept.last[number]
    disk_count, excluded, size = kept.disks.get(number, (0, 0, 0))
    return MachineRow(
        machine_id=known.machine_id,
        source=known.source,
        name=known.name,
        key=moment.text(int(table["key"][known.row])),
        disks=disk_count,
        excluded_disks=excluded,
        size_bytes=size,
        restore_points=kept.points[number],
        stored_bytes=kept.stored[number],
        last_point_id=None if last < 0 else moment.id(int(points["restore_point_id"][last]), "point"),
        last_point_at=None if last < 0 else time_of(int(points["recorded_at"][last])),
        last_result=None if last < 0 else moment.text(int(points["result"][last])),
        last_verified_at=optional_time(kept.verified_at[number]),
        first_seen_at=time_of(kept.first_seen[number]),
        recorded_at=time_of(int(table["recorded_at"][known.row])),
        position=int(table["position"][known.row]),
    )

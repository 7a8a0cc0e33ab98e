"""Restore points, and the disks in them. Imports this package and `storage`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import msgspec
import numpy as np

from catalog.access.caller import Scope
from catalog.queries.asked import Asked, Page, after_number, page
from catalog.queries.moment import Mask, Moment, Rows, microseconds, optional_time, time_of
from catalog.queries.names import pick_machine, pick_point
from catalog.queries.rows import DiskRow, LeftOutRow, PointRow, Tombstone
from catalog.queries.warm import NULL
from storage.errors import NotFound
from storage.lake import Lake

SEQ_BITS = 40
"""A disk's number above, its seq below: one number for both."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which restore points; see `CatalogReads.restore_points`."""

    machine_id: UUID | None = None
    since: datetime | None = None
    until: datetime | None = None
    valid_at: datetime | None = None
    include_deleted: bool = False
    newest_first: bool = True


@dataclass(frozen=True, slots=True)
class PointDisk:
    """One disk in one restore point: rows in `restore_points` and `disk_points`."""

    point: int
    row: int
    disk: int
    seq: int
    disk_id: UUID
    label: str


def restore_points(moment: Moment, asked: Asked, wanted: Wanted) -> Page[PointRow]:
    """See `CatalogReads.restore_points`."""
    rows = _matching(moment, asked.scope, wanted)
    positions = moment.table("restore_points")["position"]
    after = after_number(asked)
    if wanted.newest_first:
        end = len(rows) if after is None else int(np.searchsorted(positions[rows], after, "left"))
        some = rows[max(0, end - asked.limit) : end][::-1]
        more = end > asked.limit
    else:
        start = 0 if after is None else int(np.searchsorted(positions[rows], after, "right"))
        some = rows[start : start + asked.limit]
        more = start + asked.limit < len(rows)
    following = (int(positions[some[-1]]),) if more else None
    return Page(tuple(point_rows(moment, some)), following, moment.position)


def restore_point(moment: Moment, scope: Scope, restore_point_id: UUID) -> PointRow:
    """See `CatalogReads.restore_point`."""
    return point_rows(moment, np.array([moment.point(scope, restore_point_id)]))[0]


def find_point(moment: Moment, scope: Scope, text: str) -> PointRow:
    """See `CatalogReads.find_point`."""
    head, _, machine = text.partition(":")
    if head == "latest":
        wanted = Wanted(pick_machine(machine, moment.visible_machines(scope)).machine_id if machine else None)
        rows = _matching(moment, scope, wanted)
        if not len(rows):
            raise NotFound("there is no restore point yet", code="restore-point-unknown", hint="holdfast backup")
        return point_rows(moment, rows[-1:])[0]
    return restore_point(moment, scope, pick_point(text, starting_with(moment, scope, text)))


def starting_with(moment: Moment, scope: Scope, text: str) -> list[UUID]:
    """The restore points whose identifiers start with these hex digits, dashes or none."""
    prefix = text.replace("-", "").lower()
    if not re.fullmatch(r"[0-9a-f]{4,32}", prefix):
        return []
    table, rows = moment.table("restore_points"), moment.point_rows
    found = []
    for number in moment.words("point").starting_with(prefix):
        row = int(rows[number]) if number < len(rows) else -1
        if row >= 0 and moment.sees(scope, int(table["machine_id"][row])):
            found.append(moment.id(number, "point"))
    return found


def point_disks(moment: Moment, asked: Asked, restore_point_id: UUID) -> Page[DiskRow]:
    """See `CatalogReads.point_disks`."""
    found = disks_of(moment, asked.scope, restore_point_id)
    return page(
        asked,
        moment.position,
        found,
        lambda disk: (disk.label, str(disk.disk_id)),
        lambda disk: _disk_row(moment, disk),
    )


def disks_of(moment: Moment, scope: Scope, restore_point_id: UUID) -> list[PointDisk]:
    """The disks of a restore point, by label. Raises NotFound."""
    point = moment.point(scope, restore_point_id)
    table = moment.table("disk_points")
    low, high = (
        np.searchsorted(table["position"], moment.table("restore_points")["position"][point], "left"),
        np.searchsorted(table["position"], moment.table("restore_points")["position"][point], "right"),
    )
    found = []
    for row in range(int(low), int(high)):
        disk, label = int(table["disk_id"][row]), moment.text(int(table["label"][row]))
        found.append(PointDisk(point, row, disk, int(table["seq"][row]), moment.id(disk, "disk"), label))
    return sorted(found, key=lambda disk: (disk.label, str(disk.disk_id)))


def disk_of(moment: Moment, scope: Scope, restore_point_id: UUID, disk_id: UUID) -> PointDisk:
    """One disk of a restore point. Raises NotFound."""
    for disk in disks_of(moment, scope, restore_point_id):
        if disk.disk_id == disk_id:
            return disk
    raise NotFound(f"restore point {restore_point_id} has no disk {disk_id}", code="disk-unknown")


def chain_of(moment: Moment, disk: int, seq: int) -> list[int]:
    """The rows in `disk_points` that a disk's point is made of, the full first."""
    table = moment.table("disk_points")
    rows = disk_rows(moment, disk)
    seqs, parents = table["seq"][rows].tolist(), table["parent_seq"][rows].tolist()
    known = dict(zip(seqs, zip(rows.tolist(), parents, strict=True), strict=True))
    chain = []
    while seq != NULL:
        row, seq = known[seq]
        chain.append(row)
    return chain[::-1]


def disk_rows(moment: Moment, disk: int) -> Rows:
    """The rows of one disk in `disk_points`, ascending by seq."""
    order, keys = moment.once("by disk", lambda: _by_disk(moment))
    low, high = np.searchsorted(keys, (disk << SEQ_BITS, (disk + 1) << SEQ_BITS))
    return order[low:high]


def disk_point_rows(moment: Moment, disks: Rows, seqs: Rows) -> Rows:
    """The row in `disk_points` of each disk number and seq, -1 for one that is none."""
    order, keys = moment.once("by disk", lambda: _by_disk(moment))
    if not len(keys):
        return np.full(len(disks), -1, np.int64)
    wanted = (disks << SEQ_BITS) + seqs
    places = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where((keys[places] == wanted) & (disks >= 0), order[places], -1)


def left_out(moment: Moment, lake: Lake, scope: Scope, restore_point_id: UUID) -> tuple[LeftOutRow, ...]:
    """See `CatalogReads.left_out`."""
    row = moment.point(scope, restore_point_id)
    table = moment.table("restore_points")
    if not table["left_out"][row]:
        return ()
    position = int(table["position"][row])
    batches = lake.read("events", ("body",), where={"position": (position, position)})
    bodies = [body for batch in batches for body in batch.column("body").to_pylist()]
    return tuple(msgspec.convert(msgspec.json.decode(bodies[0])["left_out"], list[LeftOutRow]))


def point_rows(moment: Moment, rows: Rows) -> list[PointRow]:
    """The restore points at some rows, column by column."""
    table = moment.table("restore_points")
    texts = moment.words("word").texts
    points, machines, runs = (moment.words(kind) for kind in ("point", "machine", "run"))
    verified, deleted = moment.verified_rows[rows].tolist(), moment.deleted_rows[rows].tolist()
    taken = {name: values[rows].tolist() for name, values in table.columns.items()}
    checks = moment.table("verifications")
    found = []
    for index, (check, tombstone) in enumerate(zip(verified, deleted, strict=True)):
        found.append(
            PointRow(
                restore_point_id=points.id(taken["restore_point_id"][index]),
                machine_id=machines.id(taken["machine_id"][index]),
                machine=texts[taken["machine"][index]],
                source=texts[taken["source"][index]],
                run_id=runs.id(taken["run_id"][index]),
                origin=texts[taken["origin"][index]],
                result=texts[taken["result"][index]],
                consistency=texts[taken["consistency"][index]],
                disks=taken["disks"][index],
                left_out=taken["left_out"][index],
                left_out_disks=labels_left_out(texts[taken["left_out_disks"][index]]),
                size_bytes=taken["size_bytes"][index],
                changed_bytes=taken["changed_bytes"][index],
                stored_bytes=taken["stored_bytes"][index],
                taken_at=optional_time(taken["taken_at"][index]),
                recorded_at=time_of(taken["recorded_at"][index]),
                verified_level=None if check < 0 else texts[checks["level"][check]],
                verified_result=None if check < 0 else texts[checks["result"][check]],
                verified_at=None if check < 0 else time_of(int(checks["recorded_at"][check])),
                deleted=None if tombstone < 0 else _tombstone(moment, tombstone),
                position=taken["position"][index],
            )
        )
    return found


def labels_left_out(text: str) -> tuple[str, ...]:
    """The labels that `restore_points.left_out_disks` lists."""
    return () if text == "[]" else msgspec.json.decode(text, type=tuple[str, ...])


def _matching(moment: Moment, scope: Scope, wanted: Wanted) -> Rows:
    """The rows in `restore_points`, in the order of the log."""
    table = moment.table("restore_points")
    masks: list[Mask] = []
    if wanted.machine_id is not None:
        masks.append(table["machine_id"] == moment.machine(scope, wanted.machine_id).number)
    elif (admitted := moment.admits(scope, table["machine_id"])) is not None:
        masks.append(admitted)
    if wanted.since is not None:
        masks.append(table["recorded_at"] >= microseconds(wanted.since))
    if wanted.until is not None:
        masks.append(table["recorded_at"] < microseconds(wanted.until))
    if wanted.valid_at is not None:
        masks.append(_valid(moment, microseconds(wanted.valid_at), include_deleted=wanted.include_deleted))
    elif not wanted.include_deleted:
        masks.append(moment.deleted_rows < 0)
    return np.flatnonzero(np.logical_and.reduce(masks)) if masks else np.arange(table.rows)


def _valid(moment: Moment, at: int, *, include_deleted: bool) -> Mask:
    """Points of data from `at` or earlier; unless `include_deleted`, those that were not deleted by then."""
    table = moment.table("restore_points")
    valid: Mask = np.where(table["taken_at"] == NULL, table["recorded_at"], table["taken_at"]) <= at
    if not include_deleted:
        deleted = moment.deleted_rows
        times = np.append(moment.table("deletions")["recorded_at"], np.iinfo(np.int64).max)
        valid &= times[deleted] > at
    return valid


def _by_disk(moment: Moment) -> tuple[Rows, Rows]:
    """The rows of `disk_points` by disk and seq, and disk and seq of each as one number."""
    table = moment.table("disk_points")
    keys = (table["disk_id"] << SEQ_BITS) + table["seq"]
    order = np.argsort(keys, kind="stable")
    return order, keys[order]


def _tombstone(moment: Moment, row: int) -> Tombstone:
    table = moment.table("deletions")
    return Tombstone(
        actor=moment.text(int(table["actor"][row])),
        rule=moment.text(int(table["rule"][row])),
        reason=moment.text(int(table["reason"][row])),
        kept_for=int(table["kept_for"][row]),
        recorded_at=time_of(int(table["recorded_at"][row])),
        position=int(table["position"][row]),
    )


def _disk_row(moment: Moment, disk: PointDisk) -> DiskRow:
    table = moment.table("disk_points")
    chain = chain_of(moment, disk.disk, disk.seq)
    parent = int(table["parent_seq"][disk.row])
    sizes: Sequence[str] = (
        *("size_bytes", "chunk_bytes", "changed_bytes", "read_bytes", "new_chunks", "stored_bytes"),
        *("chunk_rows", "zero_blocks", "extent_rows"),
    )
    return DiskRow(
        disk_id=disk.disk_id,
        label=disk.label,
        seq=disk.seq,
        parent_seq=None if parent == NULL else parent,
        level=moment.text(int(table["level"][disk.row])),
        cause=moment.text(int(table["cause"][disk.row])),
        chain_points=len(chain),
        chain=tuple(moment.id(number, "point") for number in table["restore_point_id"][chain].tolist()),
        **{name: int(table[name][disk.row]) for name in sizes},
    )

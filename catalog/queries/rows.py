"""The rows that questions are answered with. Imports msgspec only; fields are added, never renamed.

Sizes are bytes, times aware UTC, `position` is that of the event a row comes from.
"""

from __future__ import annotations

from datetime import date, datetime
from uuid import UUID

import msgspec


class MachineRow(msgspec.Struct, frozen=True, kw_only=True):
    """A machine as it was last seen, and what is kept of it; deleted restore points do not count."""

    machine_id: UUID
    source: str
    name: str
    key: str
    disks: int
    excluded_disks: int
    size_bytes: int
    restore_points: int
    stored_bytes: int
    last_point_id: UUID | None
    last_point_at: datetime | None
    last_result: str | None
    last_verified_at: datetime | None
    first_seen_at: datetime
    recorded_at: datetime
    position: int


class SeenDiskRow(msgspec.Struct, frozen=True, kw_only=True):
    """A disk of a machine as it was last seen; `present`: the machine still had it when it was last seen."""

    disk_id: UUID
    machine_id: UUID
    label: str
    size_bytes: int
    tracking: str
    excluded_reason: str | None
    way_out: str | None
    present: bool
    points: int
    recorded_at: datetime
    position: int


class Tombstone(msgspec.Struct, frozen=True, kw_only=True):
    """What is left of a deleted restore point; `kept_for` later points still build on its rows."""

    actor: str
    rule: str
    reason: str
    kept_for: int
    recorded_at: datetime
    position: int


class PointRow(msgspec.Struct, frozen=True, kw_only=True):
    """A restore point, its last verification, and its tombstone if it was deleted."""

    restore_point_id: UUID
    machine_id: UUID
    machine: str
    source: str
    run_id: UUID
    origin: str
    result: str
    consistency: str
    disks: int
    left_out: int
    left_out_disks: tuple[str, ...]
    size_bytes: int
    changed_bytes: int
    stored_bytes: int
    taken_at: datetime | None
    recorded_at: datetime
    verified_level: str | None
    verified_result: str | None
    verified_at: datetime | None
    deleted: Tombstone | None
    position: int


class DiskRow(msgspec.Struct, frozen=True, kw_only=True):
    """A disk in a restore point.

    `chain` are the restore points it is made of, its full first and itself last; `chain_points` says how many.
    """

    disk_id: UUID
    label: str
    seq: int
    parent_seq: int | None
    level: str
    cause: str
    size_bytes: int
    chunk_bytes: int
    changed_bytes: int
    read_bytes: int
    new_chunks: int
    stored_bytes: int
    chunk_rows: int
    zero_blocks: int
    extent_rows: int
    chain_points: int
    chain: tuple[UUID, ...]


class LeftOutRow(msgspec.Struct, frozen=True, kw_only=True):
    """A disk that a restore point does not hold, why, and what its owner can do."""

    disk_id: UUID
    label: str
    reason: str
    way_out: str


class ProvenanceRow(msgspec.Struct, frozen=True, kw_only=True):
    """How much of a disk one point of its chain supplies; `share` of the disk's chunks, 0 to 1."""

    disk_id: UUID
    label: str
    seq: int
    restore_point_id: UUID
    recorded_at: datetime
    blocks: int
    bytes: int
    share: float


class ExtentRow(msgspec.Struct, frozen=True, kw_only=True):
    """A run of bytes: reported_data or reported_zero by the source, or stored_zero."""

    start_bytes: int
    length_bytes: int
    kind: str


class ReferenceRow(msgspec.Struct, frozen=True, kw_only=True):
    """Blocks `first_block` .. + `blocks` of a disk that hold a chunk, from restore point `seq` on.

    With `inherited` the chunk stays there for `points` restore points, this one included, up to `last_seq`;
    `until_restore_point_id` is the first that has something else there, None while the newest still holds it.
    """

    machine_id: UUID
    machine: str
    source: str
    disk_id: UUID
    label: str
    restore_point_id: UUID
    seq: int
    first_block: int
    blocks: int
    recorded_at: datetime
    points: int = 1
    last_seq: int | None = None
    last_restore_point_id: UUID | None = None
    until_restore_point_id: UUID | None = None
    until_recorded_at: datetime | None = None


class GapRow(msgspec.Struct, frozen=True, kw_only=True):
    """A time without a covering restore point for longer than the RPO."""

    start: datetime
    end: datetime


class LeftOutDiskRow(msgspec.Struct, frozen=True, kw_only=True):
    """A disk that was left out, and of how many points."""

    label: str
    points: int


class CoverageRow(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a machine was backed up often enough from `start` to `end` (exclusive), counting from `known_from`."""

    machine_id: UUID
    machine: str
    source: str
    start: datetime
    end: datetime
    known_from: datetime
    rpo_seconds: float
    covered: bool
    points: int
    verified_points: int
    damaged_points: int
    deleted_points: int
    gaps: tuple[GapRow, ...]
    left_out: tuple[LeftOutDiskRow, ...]


class DayRow(msgspec.Struct, frozen=True, kw_only=True):
    """A day (UTC) of a machine: verified, present, partial, missing, damaged or deleted."""

    day: date
    state: str
    points: int
    verified: int
    partial: int


class GridRow(msgspec.Struct, frozen=True, kw_only=True):
    """A machine's days in order; nothing could be there before the day it was first seen."""

    machine_id: UUID
    machine: str
    source: str
    first_seen_at: datetime
    days: tuple[DayRow, ...]


class EventRow(msgspec.Struct, frozen=True, kw_only=True):
    """An event; `body` is JSON text."""

    position: int
    topic: str
    stream_id: UUID
    version: int
    recorded_at: datetime
    machine_id: UUID | None
    run_id: UUID | None
    disk_id: UUID | None
    rows: int | None
    state_bytes: int
    body: str


class SearchHit(msgspec.Struct, frozen=True, kw_only=True):
    """Something that a text names: `kind` is machine, restore_point, run or chunk; `id` its identifier."""

    kind: str
    id: str
    title: str
    machine_id: UUID | None


class FailingSource(msgspec.Struct, frozen=True, kw_only=True):
    """A source whose last backup failed: `machines` of it whose last run failed, and when one last did."""

    source: str
    machines: int
    last_failed_at: datetime


class LateMachine(msgspec.Struct, frozen=True, kw_only=True):
    """A machine and its last restore point, None if it never had one."""

    machine_id: UUID
    source: str
    name: str
    last_point_at: datetime | None


class UnverifiedPoint(msgspec.Struct, frozen=True, kw_only=True):
    """A restore point that was never read back."""

    restore_point_id: UUID
    machine_id: UUID
    recorded_at: datetime


class IndexStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What there is at `position`; lists have the first few of what is counted."""

    position: int
    machines: int
    disks: int
    excluded_disks: int
    restore_points: int
    partial_points: int
    deleted_points: int
    verified_points: int
    damaged_points: int
    stored_bytes: int
    last_point_at: datetime | None
    oldest_unverified: UnverifiedPoint | None
    never_backed_up: int
    late_machines: int
    late: tuple[LateMachine, ...]
    failing_sources: tuple[FailingSource, ...]

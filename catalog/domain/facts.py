"""What events say about disks: the values inside them. Pure; imports nothing of ours.

The rule of `events` holds here too: a field is never renamed or given another meaning.
"""

from __future__ import annotations

from typing import Literal
from uuid import UUID

import msgspec

Level = Literal["full", "incremental"]
Result = Literal["complete", "partial"]


class DiskSeen(msgspec.Struct, frozen=True, kw_only=True):
    """A disk as its source last showed it."""

    disk_id: UUID
    key: str
    label: str
    size_bytes: int
    identity: str
    tracking: str
    granularity_bytes: int
    excluded_reason: str | None = None
    way_out: str | None = None


class DiskPoint(msgspec.Struct, frozen=True, kw_only=True):
    """One disk in one restore point.

    `parent_seq` is the point whose block map this one changes; None for a full. `merkle_root` is the
    RFC 6962 root over the leaves of the batch events, in stream order.
    """

    disk_id: UUID
    label: str
    identity: str
    seq: int
    parent_seq: int | None
    run_id: UUID
    level: Level
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
    batches: int
    merkle_root: bytes
    base_token: str | None


class DiskLeftOut(msgspec.Struct, frozen=True, kw_only=True):
    """A disk that the restore point does not hold, and why."""

    disk_id: UUID
    label: str
    reason: str
    way_out: str


class TransportPassedOver(msgspec.Struct, frozen=True, kw_only=True):
    """A way to a disk's bytes that was not taken, and why."""

    kind: str
    why: str


class ConfigurationPart(msgspec.Struct, frozen=True, kw_only=True):
    """One file of a machine's configuration: its name at the source, its size, its keyed digest, its first block."""

    name: str
    size_bytes: int
    digest: bytes
    first_block: int

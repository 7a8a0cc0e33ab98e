"""Every fact we keep: the immutable events, grouped by the stream they live in.

Pure; imports nothing of ours. A field is never renamed or given another meaning: a new shape is a new
schema number of the same name, and `catalog/log/upcasts.py` turns the old into the new.
Sizes are bytes; `recorded_at` is our own clock, aware UTC.
"""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar, Literal
from uuid import UUID

import msgspec

from catalog.domain.facts import ConfigurationPart, DiskLeftOut, DiskPoint, DiskSeen, Level, Result, TransportPassedOver


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """What all events carry: stream, place in the stream, and when we recorded it."""

    SCHEMA: ClassVar[int] = 1

    originator_id: UUID
    originator_version: int
    recorded_at: datetime


# Repository stream (the repository's own id)


class RepositoryInitialised(Event, frozen=True, kw_only=True):
    """A repository was created; its chunk size holds for ever."""

    format: int
    chunk_bytes: int
    pack_bytes: int
    compression_level: int
    encrypted: bool
    key_id: str


class PackDamaged(Event, frozen=True, kw_only=True):
    """A pack was found damaged or missing: rows that cite it stay, new rows cite it no more."""

    pack_id: bytes
    problem: str


class RepositoryRecovered(Event, frozen=True, kw_only=True):
    """The log was made anew from the object store up to `position`; what came after it once is not known.

    `head` is the chain's head there, `lost` names segments of the log that could not be used.
    """

    position: int
    head: bytes
    lost: tuple[str, ...]


# Pack streams (ids.pack_stream)


class PackSealed(Event, frozen=True, kw_only=True):
    """A pack is durable. `adopted`: found in the store, left there by a run that could not record it."""

    pack_id: bytes
    size_bytes: int
    chunks: int
    body_hash: bytes
    run_id: UUID | None
    adopted: bool = False


# Source streams (ids.source_id)


class SourceAdded(Event, frozen=True, kw_only=True):
    """A source was configured; settings hold references to secrets, never secrets."""

    name: str
    kind: str
    settings: dict[str, str]


class SourceRemoved(Event, frozen=True, kw_only=True):
    """A source is no longer backed up; its machines and restore points stay."""

    name: str


# Machine streams (ids.machine_id)


class MachineSeen(Event, frozen=True, kw_only=True):
    """A machine was found, or found changed."""

    source_id: UUID
    source: str
    key: str
    name: str
    disks: tuple[DiskSeen, ...]


class RestorePointCommitted(Event, frozen=True, kw_only=True):
    """A restore point exists from here on. `of_restore_point`: the point a synthetic full was resolved from.

    `taken_at` is when the source claims that its data is from; a claim, which never orders or covers anything.
    """

    SCHEMA: ClassVar[int] = 2

    restore_point_id: UUID
    run_id: UUID
    source: str
    machine: str
    origin: Literal["backup", "synthetic"]
    result: Result
    consistency: str
    disks: tuple[DiskPoint, ...]
    left_out: tuple[DiskLeftOut, ...] = ()
    of_restore_point: UUID | None = None
    taken_at: datetime | None = None


class RestorePointDeleted(Event, frozen=True, kw_only=True):
    """A restore point is withdrawn, and this is its tombstone. `kept_for`: points that still build on its rows."""

    restore_point_id: UUID
    actor: str
    rule: str
    reason: str
    kept_for: tuple[UUID, ...] = ()


class DiskOverwritten(Event, frozen=True, kw_only=True):
    """A disk is about to be overwritten at its source with a restore point's: tracking may not have seen it."""

    disk_id: UUID
    restore_point_id: UUID


class RunOpened(Event, frozen=True, kw_only=True):
    """A backup run of this machine began; the run's own stream tells the rest."""

    run_id: UUID
    label: str


class RunClosed(Event, frozen=True, kw_only=True):
    """The run is over. A run that was opened and not closed died: the next one cleans up after it."""

    run_id: UUID
    outcome: Literal["completed", "failed", "interrupted"]


# Run streams (the run's own id)


class BackupStarted(Event, frozen=True, kw_only=True):
    """A backup of one machine began; `label` marks everything it creates at the source."""

    machine_id: UUID
    source: str
    machine: str
    label: str
    full_requested: bool


class SnapshotRequested(Event, frozen=True, kw_only=True):
    """About to create a snapshot: what to look for and clean, should no later event follow."""

    machine_id: UUID
    label: str
    disks: tuple[UUID, ...]
    consistency: str


class SnapshotCreated(Event, frozen=True, kw_only=True):
    """The snapshot exists, with the consistency it got; `fallback_cause` says why it is less than asked."""

    machine_id: UUID
    label: str
    consistency: str
    fallback_cause: str | None


class TransportChosen(Event, frozen=True, kw_only=True):
    """How a disk's bytes are to travel, of a source that has a choice; recorded before the first of them is read."""

    disk_id: UUID
    kind: str
    requested: str | None
    rejected: tuple[TransportPassedOver, ...]


class TransportFellBack(Event, frozen=True, kw_only=True):
    """A disk's bytes travel otherwise than was chosen."""

    disk_id: UUID
    chosen: str
    actual: str


class DiskPlanned(Event, frozen=True, kw_only=True):
    """How one disk will be read. `method`: all allocated blocks, tracked changes, or comparison with digests."""

    disk_id: UUID
    seq: int
    parent_seq: int | None
    level: Level
    cause: str
    method: Literal["read_all", "tracked", "compare"]
    transport: str


class DiskSealed(Event, frozen=True, kw_only=True):
    """All rows of one disk are recorded; not visible before the restore point is committed."""

    disk: DiskPoint


class ChangeTrackingDistrusted(Event, frozen=True, kw_only=True):
    """Blocks the source called unchanged had changed: the disk is read in full instead, now."""

    machine_id: UUID
    disk_id: UUID
    sampled_blocks: int
    mismatched_blocks: int
    first_mismatch: int


class SnapshotReleaseRequested(Event, frozen=True, kw_only=True):
    """About to remove the snapshot and what else carries `label`."""

    machine_id: UUID
    label: str
    committed: bool


class SnapshotReleased(Event, frozen=True, kw_only=True):
    """Nothing with `label` is left at the source."""

    machine_id: UUID
    label: str


class SnapshotReleaseFailed(Event, frozen=True, kw_only=True):
    """Something with `label` is still at the source; the next run cleans it."""

    machine_id: UUID
    label: str
    code: str
    why: str


class LeftoverCleaned(Event, frozen=True, kw_only=True):
    """Something an earlier run had left at the source was dealt with."""

    machine_id: UUID
    what: str
    action: str


class BackupCompleted(Event, frozen=True, kw_only=True):
    """The run ended with a restore point."""

    machine_id: UUID
    restore_point_id: UUID


class BackupFailed(Event, frozen=True, kw_only=True):
    """The run ended without a restore point."""

    machine_id: UUID
    kind: str
    code: str
    why: str


class BackupInterrupted(Event, frozen=True, kw_only=True):
    """The run ended early: by a signal, or found dead by a later run."""

    machine_id: UUID
    cause: str


# Batch streams (ids.batch_stream): rows in bulk, Arrow IPC, see catalog/batches.py


class Batch(Event, frozen=True, kw_only=True):
    """Rows of one kind; the header stands outside the Arrow bytes so that planners need not decode them."""

    run_id: UUID
    disk_id: UUID
    seq: int
    schema_id: int
    rows: int
    first: int
    last: int
    batch: bytes


class ExtentsRecorded(Batch, frozen=True, kw_only=True):
    """Extents as the source reported them; `first` and `last` are bytes."""


class ChunksRecorded(Batch, frozen=True, kw_only=True):
    """Blocks and the chunks that hold them; `first` and `last` are block numbers."""


class ZerosRecorded(Batch, frozen=True, kw_only=True):
    """Runs of blocks that are zero from this point on; `first` and `last` are block numbers."""


# Configuration streams (ids.configuration_stream)


class ConfigurationRecorded(Event, frozen=True, kw_only=True):
    """The files that describe a machine at its source are stored, for the restore point that `run_id` makes.

    `batch` has the rows of their chunks, as `ChunksRecorded` has those of a disk (catalog/batches.py): each file begins
    a block of its own, and blocks without a row are zeros. The digests of the files are keyed as those of chunks.
    """

    machine_id: UUID
    run_id: UUID
    chunk_bytes: int
    files: tuple[ConfigurationPart, ...]
    schema_id: int
    batch: bytes


# Restore point streams (the restore point's own id)


class RestorePointVerified(Event, frozen=True, kw_only=True):
    """A restore point was read back. Each problem names the object and what is wrong with it."""

    machine_id: UUID
    level: Literal["stored", "content"]
    result: Literal["ok", "damaged"]
    chunks: int
    checked_bytes: int
    problems: tuple[str, ...]


# Task streams (the task's own id)


class RestoreStarted(Event, frozen=True, kw_only=True):
    """A disk is about to be written to a file. `fallback_cause`: why the index did not resolve it."""

    machine_id: UUID
    restore_point_id: UUID
    disk_id: UUID
    format: str
    without_index: bool
    fallback_cause: str | None = None


class RestoreCompleted(Event, frozen=True, kw_only=True):
    """The file is whole and every chunk in it was verified."""

    machine_id: UUID
    restore_point_id: UUID
    disk_id: UUID
    size_bytes: int
    data_bytes: int


class RestoreFailed(Event, frozen=True, kw_only=True):
    """The restore ended early; what it had written was removed."""

    machine_id: UUID
    restore_point_id: UUID
    disk_id: UUID
    kind: str
    code: str
    why: str


class ExportStarted(Event, frozen=True, kw_only=True):
    """A disk of a restore point is being served over NBD, read-only."""

    machine_id: UUID
    restore_point_id: UUID
    disk_id: UUID
    address: str


class ExportStopped(Event, frozen=True, kw_only=True):
    """The export ended."""

    machine_id: UUID
    restore_point_id: UUID
    disk_id: UUID
    read_bytes: int

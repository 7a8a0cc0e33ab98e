"""The tables of the index, and what each column means. Imports `storage.lake` only.

Rows are only ever added; a thing that changes gets a row for each version, the greatest `position` being the
latest. `part` (0 to 63) is computed from the disk's id. Columns are never renamed; new ones go to the end.
"""

from __future__ import annotations

from storage.lake.tables import Column, TableSpec


def _text(name: str, comment: str, *, nullable: bool = False) -> Column:
    return Column(name, "varchar", nullable, "dictionary", comment=comment)


def _free(name: str, comment: str, *, nullable: bool = False) -> Column:
    """Text that hardly ever repeats."""
    return Column(name, "varchar", nullable, "default", stats=False, comment=comment)


def _number(name: str, comment: str, *, nullable: bool = False) -> Column:
    return Column(name, "int64", nullable, "delta", comment=comment)


def _time(name: str, comment: str, *, nullable: bool = False) -> Column:
    return Column(name, "timestamptz", nullable, "delta", comment=comment)


def _hash(name: str, comment: str) -> Column:
    return Column(name, "blob", False, "plain", fixed_bytes=32, stats=False, comment=comment)


POSITION = _number("position", "Place in the event log of the event this row comes from")
RECORDED = _time("recorded_at", "When the event was recorded, by the catalog's clock")
PART = Column("part", "int32", False, "dictionary", comment="Partition, 0 to 63, computed from disk_id")
MACHINE = _text("machine_id", "The machine (UUID)")
DISK = _text("disk_id", "The disk (UUID)")
RUN = _text("run_id", "The run that wrote it (UUID)")
POINT = _text("restore_point_id", "The restore point (UUID)")
SEQ = _number("seq", "Number of the point among its disk's points, from 1")

MACHINES = TableSpec(
    name="machines",
    comment="Machines as their source showed them, a row each time one was found changed",
    partition=None,
    sort=("machine_id", "position"),
    columns=(
        MACHINE,
        _text("source", "Name of the source it was seen at"),
        _text("name", "What people call it"),
        _text("key", "The source's own stable identifier"),
        POSITION,
        RECORDED,
    ),
)

DISKS = TableSpec(
    name="disks",
    comment="Disks as their source showed them, a row each time their machine was found changed",
    partition=None,
    sort=("disk_id", "position"),
    columns=(
        DISK,
        MACHINE,
        _text("label", "What people call it within its machine"),
        _number("size_bytes", "Size in bytes"),
        _text("tracking", "How changes are learned: bitmap, cbt, rct, or compare (reading and comparing)"),
        _text("excluded_reason", "Why it cannot be protected; NULL if it can", nullable=True),
        _text("way_out", "What its owner can do to protect it; NULL if it is protected", nullable=True),
        POSITION,
        RECORDED,
    ),
)

SNAPSHOTS = TableSpec(
    name="snapshots",
    comment="Snapshots taken at sources, a row for each state they went through",
    partition=None,
    sort=("run_id", "position"),
    columns=(
        _text("run_id", "The run that asked for it (UUID)"),
        MACHINE,
        _text("label", "Our mark on everything the run created at the source"),
        _text("state", "requested, created, release_requested, released or release_failed"),
        _text("consistency", "Asked for, then got: application, filesystem or crash; NULL on release", nullable=True),
        _text("fallback_cause", "Why less consistency than asked for was got; NULL if not less", nullable=True),
        POSITION,
        RECORDED,
    ),
)

EXTENTS = TableSpec(
    name="extents",
    comment="Extents of committed restore points: what the source reported, and which runs of blocks became zero",
    partition="part",
    sort=("disk_id", "seq", "start_bytes"),
    columns=(
        PART,
        DISK,
        SEQ,
        _number("start_bytes", "First byte on the disk"),
        _number("length_bytes", "Length in bytes"),
        _text(
            "kind",
            "reported_data or reported_zero, as the source said; stored_zero: whole blocks that read as zeros from "
            "this point on and hide what older points hold there",
        ),
    ),
)

CHUNKS = TableSpec(
    name="chunks",
    comment="Blocks that committed restore points wrote, and where the chunk of each was when it was recorded",
    partition="part",
    sort=("disk_id", "seq", "block"),
    columns=(
        PART,
        DISK,
        SEQ,
        _number("block", "Block number on the disk, from 0, in units of the repository's chunk size"),
        _hash("digest", "Keyed BLAKE3-256 of the block's plain bytes"),
        _text("pack_id", "The pack that holds the chunk (32 hex digits)"),
        _number("pack_offset", "First byte of the chunk's record in the pack"),
        _number("stored_bytes", "Length of the record in the pack: header, compressed and encrypted bytes, tag"),
    ),
)

CHUNK_REFS = TableSpec(
    name="chunk_refs",
    comment="The rows of chunks again, in the order of their digests: which points wrote a chunk",
    partition=None,
    sort=("digest",),
    columns=(
        _hash("digest", "Keyed BLAKE3-256 of the block's plain bytes"),
        DISK,
        SEQ,
        _number("block", "Block number on the disk, from 0, in units of the repository's chunk size"),
    ),
    keyed=True,
    group_rows=2048,
)

DISK_POINTS = TableSpec(
    name="disk_points",
    comment="Disks in committed restore points",
    partition="part",
    sort=("disk_id", "seq"),
    columns=(
        PART,
        DISK,
        MACHINE,
        POINT,
        RUN,
        _text("label", "What people called the disk within its machine"),
        _text("identity", "The source's identity of the disk at the time"),
        SEQ,
        _number("parent_seq", "The point whose blocks this one changes; NULL for a full", nullable=True),
        _text("level", "full or incremental"),
        _text("cause", "Why this level: a stable code"),
        _number("size_bytes", "Size of the disk in bytes"),
        _number("chunk_bytes", "Size of a block in bytes"),
        _number("changed_bytes", "Bytes that the point changed against its parent (full: allocated bytes)"),
        _number("read_bytes", "Bytes read from the source"),
        _number("new_chunks", "Chunks that were not in the repository before"),
        _number("stored_bytes", "Bytes that the new chunks take in packs"),
        _number("chunk_rows", "Rows of this point in chunks"),
        _number("zero_blocks", "Blocks under its stored_zero rows in extents"),
        _number("extent_rows", "Rows of this point in extents that the source reported"),
        _number("batches", "Batch events that carried the rows"),
        _hash("merkle_root", "RFC 6962 root over the batch events"),
        _free("base_token", "What the source needs to tell later changes from this point; NULL if none", nullable=True),
        RECORDED,
        POSITION,
    ),
)

RESTORE_POINTS = TableSpec(
    name="restore_points",
    comment="Committed restore points of machines",
    partition=None,
    sort=("machine_id", "position"),
    columns=(
        POINT,
        MACHINE,
        _text("machine", "The machine's name at the time"),
        _text("source", "The source's name"),
        RUN,
        _text("origin", "backup, or synthetic (resolved from earlier points, no data moved)"),
        _text("result", "complete, or partial when a disk was left out"),
        _text("consistency", "application, filesystem or crash"),
        _number("disks", "Number of disks in the point"),
        _number("left_out", "Number of disks left out"),
        _number("size_bytes", "Size of its disks in bytes"),
        _number("changed_bytes", "Bytes that the point changed"),
        _number("stored_bytes", "Bytes that its new chunks take in packs"),
        RECORDED,
        POSITION,
        _free("left_out_disks", "Labels of the disks left out, as a JSON list"),
        _time("taken_at", "When the data is from, as the source claims; NULL if it does not", nullable=True),
    ),
)

DELETIONS = TableSpec(
    name="deletions",
    comment="Restore points that were withdrawn: who did it, by which rule and why",
    partition=None,
    sort=("machine_id", "position"),
    columns=(
        POINT,
        MACHINE,
        _text("actor", "Who deleted it"),
        _text("rule", "manual, or the rule that chose it"),
        _free("reason", "Why, in its actor's words"),
        _number("kept_for", "How many later points still build on its rows"),
        RECORDED,
        POSITION,
    ),
)

VERIFICATIONS = TableSpec(
    name="verifications",
    comment="Every time that a restore point was read back",
    partition=None,
    sort=("restore_point_id", "position"),
    columns=(
        POINT,
        MACHINE,
        _text("level", "stored (bytes in packs) or content (decrypted, decompressed and hashed)"),
        _text("result", "ok or damaged"),
        _number("chunks", "Chunks checked"),
        _number("checked_bytes", "Bytes checked"),
        _number("problems", "How many problems were found; the event names them"),
        RECORDED,
        POSITION,
    ),
)

EVENTS = TableSpec(
    name="events",
    comment="The event log, without the rows that batch events carry",
    partition=None,
    sort=("position",),
    columns=(
        _number("position", "Place in the log, from 1; gaps are possible"),
        _text("topic", "Event type and schema number, such as PackSealed/1"),
        _text("stream_id", "The stream it belongs to (UUID)"),
        _number("version", "Place in its stream, from 1"),
        RECORDED,
        _text("machine_id", "The machine it is about (UUID); NULL if none", nullable=True),
        _text("run_id", "The run it belongs to (UUID); NULL if none", nullable=True),
        _text("disk_id", "The disk it is about (UUID); NULL if none", nullable=True),
        _number("rows", "Rows that a batch event carries; NULL for others", nullable=True),
        _number("state_bytes", "Bytes of the event as stored"),
        _free("body", "The event as JSON: bytes as hex digits, without the rows of batches"),
    ),
    group_rows=8192,
)

TABLES: tuple[TableSpec, ...] = (
    MACHINES,
    DISKS,
    SNAPSHOTS,
    EXTENTS,
    CHUNKS,
    CHUNK_REFS,
    DISK_POINTS,
    RESTORE_POINTS,
    DELETIONS,
    VERIFICATIONS,
    EVENTS,
)
BY_NAME: dict[str, TableSpec] = {table.name: table for table in TABLES}

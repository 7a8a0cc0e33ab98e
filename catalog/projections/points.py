"""Rows of `restore_points`, `disk_points`, `deletions` and `verifications`. Pure: one event in, rows out."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from catalog.domain import ids
from catalog.domain.events import RestorePointCommitted, RestorePointDeleted, RestorePointVerified
from catalog.domain.facts import DiskPoint

Row = dict[str, object]


def committed(event: RestorePointCommitted, position: int) -> Iterator[tuple[str, Row]]:
    """The restore point, and each disk in it."""
    common: Row = {
        "restore_point_id": str(event.restore_point_id),
        "machine_id": str(event.originator_id),
        "position": position,
        "recorded_at": event.recorded_at,
    }
    yield (
        "restore_points",
        common
        | {
            "machine": event.machine,
            "source": event.source,
            "run_id": str(event.run_id),
            "origin": event.origin,
            "result": event.result,
            "consistency": event.consistency,
            "disks": len(event.disks),
            "left_out": len(event.left_out),
            "size_bytes": sum(disk.size_bytes for disk in event.disks),
            "changed_bytes": sum(disk.changed_bytes for disk in event.disks),
            "stored_bytes": sum(disk.stored_bytes for disk in event.disks),
            "left_out_disks": msgspec.json.encode([disk.label for disk in event.left_out]).decode(),
            "taken_at": event.taken_at,
        },
    )
    for disk in event.disks:
        yield "disk_points", common | _disk(disk)


def deleted(event: RestorePointDeleted, position: int) -> Iterator[tuple[str, Row]]:
    """The restore point's tombstone; its rows stay, for later points build on them."""
    yield (
        "deletions",
        {
            "restore_point_id": str(event.restore_point_id),
            "machine_id": str(event.originator_id),
            "actor": event.actor,
            "rule": event.rule,
            "reason": event.reason,
            "kept_for": len(event.kept_for),
            "recorded_at": event.recorded_at,
            "position": position,
        },
    )


def verified(event: RestorePointVerified, position: int) -> Iterator[tuple[str, Row]]:
    """What reading the restore point back found."""
    yield (
        "verifications",
        {
            "restore_point_id": str(event.originator_id),
            "machine_id": str(event.machine_id),
            "level": event.level,
            "result": event.result,
            "chunks": event.chunks,
            "checked_bytes": event.checked_bytes,
            "problems": len(event.problems),
            "recorded_at": event.recorded_at,
            "position": position,
        },
    )


def _disk(disk: DiskPoint) -> Row:
    row = msgspec.structs.asdict(disk)
    return row | {"part": ids.part_of(disk.disk_id), "disk_id": str(disk.disk_id), "run_id": str(disk.run_id)}

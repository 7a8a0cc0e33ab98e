"""Rows of `events`: the log itself, readable. Pure: one event in, one row out."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

import msgspec

from catalog.domain import events
from catalog.domain.events import Batch, DiskSealed, Event
from catalog.domain.topics import topic_of

Row = dict[str, object]

IN_RUN_STREAMS: tuple[type[Event], ...] = (
    events.BackupStarted,
    events.SnapshotRequested,
    events.SnapshotCreated,
    events.TransportChosen,
    events.TransportFellBack,
    events.DiskPlanned,
    events.DiskSealed,
    events.ChangeTrackingDistrusted,
    events.SnapshotReleaseRequested,
    events.SnapshotReleased,
    events.SnapshotReleaseFailed,
    events.LeftoverCleaned,
    events.BackupCompleted,
    events.BackupFailed,
    events.BackupInterrupted,
)
IN_MACHINE_STREAMS: tuple[type[Event], ...] = (
    events.MachineSeen,
    events.RunOpened,
    events.RunClosed,
    events.RestorePointCommitted,
    events.RestorePointDeleted,
    events.DiskOverwritten,
)

LEFT_OUT = ("originator_id", "originator_version", "recorded_at", "batch", "digest")
"""What every row has, the rows of batches, and the digests by which tokens are known."""


def entry(event: Event, position: int, state_bytes: int) -> Iterator[tuple[str, Row]]:
    """The event's row; `state_bytes` is its size as stored."""
    yield (
        "events",
        {
            "position": position,
            "topic": topic_of(type(event)),
            "stream_id": str(event.originator_id),
            "version": event.originator_version,
            "recorded_at": event.recorded_at,
            "machine_id": _text(_machine_of(event)),
            "run_id": _text(_run_of(event)),
            "disk_id": _text(_disk_of(event)),
            "rows": event.rows if isinstance(event, Batch) else None,
            "state_bytes": state_bytes,
            "body": body(event),
        },
    )


def body(event: Event) -> str:
    """The event's fields as JSON, without those in LEFT_OUT."""
    fields = msgspec.structs.asdict(event)
    for name in LEFT_OUT:
        fields.pop(name, None)
    return msgspec.json.encode(_plain(msgspec.to_builtins(fields, builtin_types=(bytes,)))).decode()


def _machine_of(event: Event) -> UUID | None:
    return event.originator_id if isinstance(event, IN_MACHINE_STREAMS) else getattr(event, "machine_id", None)


def _run_of(event: Event) -> UUID | None:
    return event.originator_id if isinstance(event, IN_RUN_STREAMS) else getattr(event, "run_id", None)


def _disk_of(event: Event) -> UUID | None:
    return event.disk.disk_id if isinstance(event, DiskSealed) else getattr(event, "disk_id", None)


def _text(value: UUID | None) -> str | None:
    return None if value is None else str(value)


def _plain(value: object) -> object:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value

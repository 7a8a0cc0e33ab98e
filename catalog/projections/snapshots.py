"""Rows of `snapshots`. Pure: one event in, rows out."""

from __future__ import annotations

from collections.abc import Iterator

from catalog.domain.events import (
    SnapshotCreated,
    SnapshotReleased,
    SnapshotReleaseFailed,
    SnapshotReleaseRequested,
    SnapshotRequested,
)

Row = dict[str, object]
Snapshot = SnapshotRequested | SnapshotCreated | SnapshotReleaseRequested | SnapshotReleased | SnapshotReleaseFailed

STATES: dict[type[Snapshot], str] = {
    SnapshotRequested: "requested",
    SnapshotCreated: "created",
    SnapshotReleaseRequested: "release_requested",
    SnapshotReleased: "released",
    SnapshotReleaseFailed: "release_failed",
}


def moved(event: Snapshot, position: int) -> Iterator[tuple[str, Row]]:
    """The state that the run's snapshot is in from here on."""
    yield (
        "snapshots",
        {
            "run_id": str(event.originator_id),
            "machine_id": str(event.machine_id),
            "label": event.label,
            "state": STATES[type(event)],
            "consistency": event.consistency if isinstance(event, SnapshotRequested | SnapshotCreated) else None,
            "fallback_cause": event.fallback_cause if isinstance(event, SnapshotCreated) else None,
            "position": position,
            "recorded_at": event.recorded_at,
        },
    )

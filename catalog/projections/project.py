"""One event, and what it adds to the small tables. Pure; the bulk tables are in `blocks.py`."""

from __future__ import annotations

from collections.abc import Iterator

from catalog.domain.events import (
    MachineSeen,
    RestorePointCommitted,
    RestorePointDeleted,
    RestorePointVerified,
    SnapshotCreated,
    SnapshotReleased,
    SnapshotReleaseFailed,
    SnapshotReleaseRequested,
    SnapshotRequested,
)
from catalog.log import Recorded
from catalog.projections import journal, machines, points, snapshots

Row = dict[str, object]
SNAPSHOTS = SnapshotRequested | SnapshotCreated | SnapshotReleaseRequested | SnapshotReleased | SnapshotReleaseFailed


def project(recorded: Recorded) -> Iterator[tuple[str, Row]]:
    """Yield (table, row); every event has a row in `events`."""
    event, position = recorded.event, recorded.position
    yield from journal.entry(event, position, recorded.state_bytes)
    if isinstance(event, MachineSeen):
        yield from machines.seen(event, position)
    elif isinstance(event, RestorePointCommitted):
        yield from points.committed(event, position)
    elif isinstance(event, RestorePointDeleted):
        yield from points.deleted(event, position)
    elif isinstance(event, RestorePointVerified):
        yield from points.verified(event, position)
    elif isinstance(event, SNAPSHOTS):
        yield from snapshots.moved(event, position)

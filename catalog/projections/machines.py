"""Rows of `machines` and `disks`. Pure: one event in, rows out."""

from __future__ import annotations

from collections.abc import Iterator

from catalog.domain.events import MachineSeen

Row = dict[str, object]


def seen(event: MachineSeen, position: int) -> Iterator[tuple[str, Row]]:
    """A version of the machine, and one of each of its disks."""
    common: Row = {"machine_id": str(event.originator_id), "position": position, "recorded_at": event.recorded_at}
    yield "machines", common | {"source": event.source, "name": event.name, "key": event.key}
    for disk in event.disks:
        yield (
            "disks",
            common
            | {
                "disk_id": str(disk.disk_id),
                "label": disk.label,
                "size_bytes": disk.size_bytes,
                "tracking": disk.tracking,
                "excluded_reason": disk.excluded_reason,
                "way_out": disk.way_out,
            },
        )

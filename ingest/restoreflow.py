"""Restoring a whole restore point: which disks, resolved how, and what is recorded about it.

Imports `catalog` and `ingest.restore`. The index resolves; when it cannot, the event log does, and the event
says why.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from catalog.domain.events import DiskPoint, RestoreCompleted, RestoreFailed, RestoreStarted
from catalog.domain.machine import RestorePoint
from catalog.resolve.resolver import Resolver
from ingest.progress import Progress
from ingest.restore import DiskRestore, Format, RestoredDisk, target_paths
from ingest.streams import StreamWriter
from ingest.wiring import Services
from storage.errors import HoldfastError, NotFound


@dataclass(frozen=True, slots=True)
class RestoreRequest:
    """What to give back, and where."""

    point: str
    disk: str | None
    to: Path
    format: Format = "raw"
    force: bool = False
    salvage: bool = False
    without_index: bool = False


def restore_point(services: Services, request: RestoreRequest, *, progress: Progress) -> list[RestoredDisk]:
    """Write the chosen disks of a restore point."""
    cause = "asked for" if request.without_index else services.catalog.index_trouble()
    point = services.catalog.find_point(request.point)
    disks = chosen_disks(point, request.disk)
    return [
        _restore_disk(services, request, point, disk, target, progress, cause)
        for disk, target in target_paths(disks, request.to, request.format)
    ]


def _restore_disk(
    services: Services,
    request: RestoreRequest,
    point: RestorePoint,
    disk: DiskPoint,
    target: Path,
    progress: Progress,
    cause: str | None,
) -> RestoredDisk:
    task = StreamWriter(services.log, services.new_id(), services.clock)
    about = {"machine_id": point.machine_id, "restore_point_id": point.restore_point_id, "disk_id": disk.disk_id}
    task.append(RestoreStarted, **about, format=request.format, without_index=cause is not None, fallback_cause=cause)
    restore = DiskRestore(
        _resolver(services, point.machine_id, cause),
        services.store,
        progress=progress,
        salvage=request.salvage,
        force=request.force,
    )
    try:
        restored = restore.restore(disk, target, request.format)
    except HoldfastError as error:
        task.append(RestoreFailed, **about, kind=error.kind, code=error.code, why=str(error))
        raise
    task.append(RestoreCompleted, **about, size_bytes=restored.size_bytes, data_bytes=restored.data_bytes)
    return restored


def _resolver(services: Services, machine_id: UUID, cause: str | None) -> Resolver:
    return services.catalog.index_resolver() if cause is None else services.catalog.log_resolver(machine_id)


def chosen_disks(point: RestorePoint, name: str | None) -> tuple[DiskPoint, ...]:
    """The disks of a point, or the one called `name` (label or id). Raises NotFound."""
    if name is None:
        return point.disks
    chosen = tuple(disk for disk in point.disks if name in (disk.label, str(disk.disk_id), disk.disk_id.hex))
    if not chosen:
        raise NotFound(
            f"the restore point has no disk {name}",
            code="disk-unknown",
            why=f"it has: {', '.join(disk.label for disk in point.disks)}",
        )
    return chosen

"""Restoring a whole restore point: which disks, resolved how, and what is recorded about it.

Imports `catalog` and `ingest.restore`. What the index cannot resolve the event log does, and the event
says why.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from catalog.domain.events import RestoreCompleted, RestoreFailed, RestoreStarted
from catalog.domain.facts import DiskPoint
from catalog.domain.machine import RestorePoint
from ingest.progress import Progress
from ingest.resolving import Resolution, resolution
from ingest.restore import DiskRestore, Format, RestoredDisk, target_paths
from ingest.signals import Interrupted, never
from ingest.streams import StreamWriter
from ingest.wiring import Services
from storage.errors import HoldfastError, Invalid, NotFound


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


@dataclass(frozen=True, slots=True)
class RestoreReport:
    """What was given back; `fallback_cause` says why the index did not resolve it."""

    disks: tuple[RestoredDisk, ...]
    fallback_cause: str | None


def restore_point(
    services: Services, request: RestoreRequest, *, progress: Progress, stop: Callable[[], bool] = never
) -> RestoreReport:
    """Write the chosen disks of a restore point. Raises Interrupted."""
    if request.salvage and request.format != "raw":
        raise Invalid(
            f"what can be saved is written as raw, not as {request.format}",
            code="salvage-format",
            hint="salvage with --format raw and convert the image afterwards",
        )
    point = services.catalog.find_point(request.point)
    disks = chosen_disks(point, request.disk)
    chosen = resolution(services, point, disks, without_index=request.without_index)
    restored = tuple(
        _restore_disk(services, request, point, disk, target, chosen, progress=progress, stop=stop)
        for disk, target in target_paths(disks, request.to, request.format)
    )
    return RestoreReport(restored, chosen.cause)


def _restore_disk(
    services: Services,
    request: RestoreRequest,
    point: RestorePoint,
    disk: DiskPoint,
    target: Path,
    chosen: Resolution,
    *,
    progress: Progress,
    stop: Callable[[], bool],
) -> RestoredDisk:
    task = StreamWriter(services.log, services.new_id(), services.clock)
    about = {"machine_id": point.machine_id, "restore_point_id": point.restore_point_id, "disk_id": disk.disk_id}
    task.append(
        RestoreStarted,
        **about,
        format=request.format,
        without_index=chosen.cause is not None,
        fallback_cause=chosen.cause,
    )
    restore = DiskRestore(
        chosen.resolver,
        services.store,
        progress=progress,
        salvage=request.salvage,
        force=request.force,
        stop=stop,
    )
    try:
        restored = restore.restore(disk, target, request.format)
    except HoldfastError as error:
        task.append(RestoreFailed, **about, kind=error.kind, code=error.code, why=str(error))
        raise
    except (KeyboardInterrupt, Interrupted):
        task.append(RestoreFailed, **about, kind="interrupted", code="signal", why="it was asked to stop")
        raise
    task.append(RestoreCompleted, **about, size_bytes=restored.size_bytes, data_bytes=restored.data_bytes)
    return restored


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

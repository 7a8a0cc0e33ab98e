"""Restores by request: a new directory below the worker's folder, with the images and `restore.json`.

Imports `catalog` and `ingest`. The directory is filled under a name of the task's own and appears whole; its
`restore.json` (see FORMAT.md) names the task, by which a later attempt knows it again.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import msgspec

from catalog.domain.requests import RestoreRequested
from catalog.tasks.names import check_target
from ingest.progress import Progress
from ingest.restoreflow import RestoreReport, RestoreRequest, restore_point
from ingest.wiring import Services
from storage.errors import Conflict, Denied, HoldfastError
from storage.files import create_file, fsync_directory, make_directory, storage_error

MANIFEST = "restore.json"
MAX_MANIFEST = 1 << 20


class RestoredImage(msgspec.Struct, frozen=True, kw_only=True):
    """One file of a restore."""

    file: str
    format: str
    size_bytes: int
    data_bytes: int


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a restored directory holds, and for which task."""

    task: UUID
    restore_point: UUID
    machine: UUID
    images: tuple[RestoredImage, ...]


def restore_below(
    services: Services,
    folder: Path,
    task_id: UUID,
    request: RestoreRequested,
    *,
    progress: Progress,
    stop: Callable[[], bool],
) -> str | None:
    """Restore to `request.to` below `folder`, once for a task; return why the index did not resolve it, if so.

    Raises Conflict when something else is there, Denied when the name leads out of the folder, Interrupted.
    """
    target = _target(folder, request.to)
    staging = target.with_name(f".holdfast-{task_id.hex}")
    try:
        if target.is_symlink() or target.exists():
            if _task_of(target) == task_id:
                return None
            raise _exists(request.to)
        make_directory(target.parent)
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(mode=0o700)
        report = _restore(services, staging, request, progress, stop)
        _describe(staging, task_id, request, report)
        _appear(staging, target, request.to)
    except (FileExistsError, NotADirectoryError) as error:
        raise _exists(request.to) from error
    except OSError as error:
        raise storage_error(error, f"cannot restore to {request.to}") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return report.fallback_cause


def _target(folder: Path, to: str) -> Path:
    """Where it goes; a link below the folder must not lead out of it."""
    target = folder.resolve() / check_target(to)
    if not target.parent.resolve().is_relative_to(folder.resolve()):
        raise Denied("that name leads out of the restore folder", code="restore-outside", hint="choose another name")
    return target


def _restore(
    services: Services, staging: Path, request: RestoreRequested, progress: Progress, stop: Callable[[], bool]
) -> RestoreReport:
    asked = RestoreRequest(
        request.restore_point_id.hex,
        str(request.disk_id) if request.disk_id else None,
        staging,
        request.format,
    )
    return restore_point(services, asked, progress=progress, stop=stop)


def _describe(staging: Path, task_id: UUID, request: RestoreRequested, report: RestoreReport) -> None:
    images = tuple(
        RestoredImage(file=disk.path.name, format=disk.format, size_bytes=disk.size_bytes, data_bytes=disk.data_bytes)
        for disk in report.disks
    )
    manifest = Manifest(task=task_id, restore_point=request.restore_point_id, machine=request.machine_id, images=images)
    create_file(staging / MANIFEST, [encoded(manifest)], partial=staging, mode=0o600)


def encoded(manifest: Manifest) -> bytes:
    """The content of `restore.json`."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"


def _appear(staging: Path, target: Path, to: str) -> None:
    fsync_directory(staging)
    try:
        os.rename(staging, target)
    except OSError as error:
        if target.exists():
            raise _exists(to) from error
        raise
    fsync_directory(target.parent)


def _task_of(target: Path) -> UUID | None:
    """The task that made a directory; None when none did."""
    try:
        with (target / MANIFEST).open("rb") as file:
            return msgspec.json.decode(file.read(MAX_MANIFEST), type=Manifest).task
    except (OSError, msgspec.MsgspecError):
        return None


def _exists(to: str) -> HoldfastError:
    return Conflict(f"{to} exists in the restore folder", code="target-exists", hint="ask for another name")

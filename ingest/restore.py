"""Giving a disk back: exact bytes, holes kept, every chunk re-hashed on the way.

Imports `catalog.resolve` and `storage`. The target appears under its name only when it is whole;
an existing file is never overwritten. Formats other than raw are written by `qemu-img`.
"""

from __future__ import annotations

import errno
import glob
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from catalog.domain.facts import DiskPoint
from catalog.resolve.resolver import Resolver
from ingest.export import serving
from ingest.pointdisk import PointDisk
from ingest.progress import Progress
from ingest.rawfile import RawFile
from ingest.signals import go_on, never
from storage.chunks.store import ChunkStore
from storage.errors import Conflict, HoldfastError, Limit, Unavailable
from storage.files import fsync_directory

Format = Literal["raw", "qcow2", "vmdk", "vhdx"]
CONVERTER_LOOK_S = 0.25
SUFFIXES: dict[str, str] = {"raw": ".raw", "qcow2": ".qcow2", "vmdk": ".vmdk", "vhdx": ".vhdx"}


@dataclass(frozen=True, slots=True)
class RestoredDisk:
    """One disk that was given back; `damaged` lists (offset, length) ranges that could not be."""

    path: Path
    format: Format
    size_bytes: int
    data_bytes: int
    damaged: tuple[tuple[int, int], ...] = ()


class DiskRestore:
    """Writes disks of restore points into files."""

    def __init__(
        self,
        resolver: Resolver,
        store: ChunkStore,
        *,
        progress: Progress,
        salvage: bool = False,
        force: bool = False,
        stop: Callable[[], bool] = never,
    ) -> None:
        self._resolver = resolver
        self._store = store
        self._progress = progress
        self._salvage = salvage
        self._force = force
        self._stop = stop

    def restore(self, point: DiskPoint, target: Path, image_format: Format) -> RestoredDisk:
        """Write one disk to `target`. Raises Conflict if it exists, Corrupt if a chunk does not verify."""
        self._progress.disk(point.label, point.size_bytes)
        if image_format == "raw":
            return self._raw(point, target)
        return self._converted(point, target, image_format)

    def _raw(self, point: DiskPoint, target: Path) -> RestoredDisk:
        damage = _Damage(point)
        with _appearing(target, force=self._force) as partial:
            data_bytes = self._write_raw(point, partial, damage)
            damage.report_beside(target)  # before the image has its name: its zeros are never without their list
        return RestoredDisk(target, "raw", point.size_bytes, data_bytes, tuple(damage.ranges))

    def _write_raw(self, point: DiskPoint, path: Path, damage: _Damage) -> int:
        with RawFile.created(path, point.size_bytes) as image:
            return self._fill(point, image, damage)

    def _fill(self, point: DiskPoint, image: RawFile, damage: _Damage) -> int:
        def write(block: int, data: memoryview) -> None:
            image.write(block * point.chunk_bytes, data)

        on_bad = damage.note if self._salvage else None
        data_bytes = 0
        for window in self._resolver.windows(point.disk_id, point.seq, digests=True):
            for rows in window.rows():
                go_on(self._stop)
                done = self._store.scatter(rows, write, on_bad=on_bad)
                self._progress.advance(done)
                data_bytes += done
        return data_bytes

    def _converted(self, point: DiskPoint, target: Path, image_format: Format) -> RestoredDisk:
        qemu_img = shutil.which("qemu-img")
        if qemu_img is None:
            raise Unavailable(
                f"{image_format} needs qemu-img, which is not installed",
                code="qemu-img-missing",
                hint="install qemu-utils, or restore with --format raw",
            )
        disk = PointDisk(self._resolver, self._store, point)
        with _appearing(target, force=self._force) as partial, serving(disk) as address:
            stderr = self._converting(
                [qemu_img, "convert", "-f", "raw", "-O", image_format, f"nbd+unix:///?socket={address}", str(partial)],
                disk,
            )
            disk.raise_failure()
            if stderr is not None:
                raise _convert_error(stderr, image_format)
        return RestoredDisk(target, image_format, point.size_bytes, disk.served_bytes)

    def _converting(self, command: list[str], disk: PointDisk) -> str | None:
        """Run the converter, and end it when it is time to stop; return what it said if it failed."""
        told = 0
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
            try:
                while True:
                    try:
                        _, stderr = process.communicate(timeout=CONVERTER_LOOK_S)
                    except subprocess.TimeoutExpired:
                        go_on(self._stop)
                        told, before = disk.served_bytes, told
                        self._progress.advance(told - before)
                    else:
                        return None if process.returncode == 0 else stderr
            except BaseException:
                process.kill()
                raise


class _Damage:
    """Ranges that could not be read back."""

    def __init__(self, point: DiskPoint) -> None:
        self._point = point
        self.ranges: list[tuple[int, int]] = []
        self._reasons: list[str] = []

    def note(self, block: int, error: HoldfastError) -> None:
        start = block * self._point.chunk_bytes
        self.ranges.append((start, min(self._point.chunk_bytes, self._point.size_bytes - start)))
        self._reasons.append(str(error))

    def report_beside(self, target: Path) -> None:
        if not self.ranges:
            return
        report = [
            {"offset": start, "length": length, "why": why}
            for (start, length), why in sorted(zip(self.ranges, self._reasons, strict=True))
        ]
        self.ranges.sort()
        target.with_name(target.name + ".damaged.json").write_text(json.dumps(report, indent=2) + "\n")


@contextmanager
def _appearing(target: Path, *, force: bool) -> Iterator[Path]:
    """Give a partial file, ours alone; durable, it takes the target's name when the block ends well, else it goes."""
    if target.exists() and not force:
        raise Conflict(f"{target} exists", code="target-exists", hint="choose another path, or add --force")
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_dead(target)
        os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600))
        yield partial
        with partial.open("rb") as written:
            os.fsync(written.fileno())
        partial.replace(target)
        fsync_directory(target.parent)
    except OSError as error:
        raise _target_error(target, error) from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def _remove_dead(target: Path) -> None:
    """Remove what restores to the same target left when their process was killed."""
    for partial in target.parent.glob(f".{glob.escape(target.name)}.*.partial"):
        owner = partial.name.split(".")[-2]
        if not Path("/proc", owner).exists():
            partial.unlink(missing_ok=True)


def _target_error(target: Path, error: OSError) -> HoldfastError:
    why = error.strerror or type(error).__name__
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return Limit(f"no space left for {target}", code="target-full", why=why, hint="choose a larger place")
    return Unavailable(f"{target} cannot be written", code="target-unwritable", why=why)


def _convert_error(stderr: str, image_format: str) -> HoldfastError:
    last = stderr.strip().splitlines()[-1] if stderr.strip() else "no message"
    if "No space left" in stderr:
        return Limit(f"no space left for the {image_format} image", code="target-full", why=last)
    return Unavailable(f"qemu-img could not write the {image_format} image", code="qemu-img", why=last)


def target_paths(points: tuple[DiskPoint, ...], to: Path, image_format: Format) -> list[tuple[DiskPoint, Path]]:
    """Say where each disk goes: one disk to the file `to`, several into the directory `to`."""
    suffix = SUFFIXES[image_format]
    if len(points) == 1 and not to.is_dir():
        return [(points[0], to)]
    names = [f"{safe_name(point.label)}{suffix}" for point in points]
    if len(set(names)) != len(names):
        names = [f"{point.disk_id}{suffix}" for point in points]
    return [(point, to / name) for point, name in zip(points, names, strict=True)]


def safe_name(label: str) -> str:
    """A disk's label as a file name: a source can't choose a path for us."""
    kept = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in label).lstrip(".")
    return kept or "disk"

"""Incrementals of disks that change little: the work must follow the change, not the disk.

A real QEMU with dirty bitmaps and sparse qcow2 disks, and the image source, which compares, beside it.
Run alone: `python -m tests.bench changes`.
"""

from __future__ import annotations

import os
import statistics
import tempfile
from pathlib import Path
from random import Random

from ingest.wiring import Services
from tests.bench.figures import Figure, figure
from tests.support.bench_home import back_up, holdfast, holdfast_peak_mib, repository, seconds
from tests.support.qemu_vm import QemuVm, VmDisk

KIB, MIB, GIB, TIB = 1 << 10, 1 << 20, 1 << 30, 1 << 40
DISK = "disk0"
ROUNDS = 5
CHANGE_ROUNDS = 3
EXTENTS = 1_000
EXTENT_BYTES = 64 * KIB


def run() -> list[Figure]:
    """Measure everything in a scratch directory."""
    with tempfile.TemporaryDirectory(prefix="hf-") as folder:
        root = Path(folder)
        return [*_image(root / "image"), *_qemu(root)]


def _image(root: Path) -> list[Figure]:
    images = root / "images"
    images.mkdir(parents=True)
    with (images / "vm.raw").open("wb") as disk:
        disk.truncate(TIB)
        for place in range(64):
            disk.seek(place * (TIB // 64))
            disk.write(os.urandom(MIB))
    with repository(root / "home", "image", path=str(images)) as services:
        first = seconds(lambda: back_up(services))
        again = statistics.median(seconds(lambda: back_up(services)) for _ in range(ROUNDS))
    peak = holdfast_peak_mib(root / "home", "backup", "lab", "--full")
    return [
        figure("first full, image, 1 TiB sparse disk with 64 MiB of data", first, "s"),
        figure("incremental, no change, image (compared), 1 TiB sparse disk", again, "s"),
        figure("peak RSS of `holdfast backup --full` of a 1 TiB sparse disk", peak, "MiB", "<= 400"),
    ]


def _qemu(root: Path) -> list[Figure]:
    large, small = root / "large", root / "small"
    vms = [_machine(large, TIB), _machine(small, 64 * GIB)]
    try:
        with (
            repository(large / "home", "qemu", qmp=str(vms[0].qmp_path)) as of_large,
            repository(small / "home", "qemu", qmp=str(vms[1].qmp_path)) as of_small,
        ):
            return _tracked(vms, [of_large, of_small])
    finally:
        for vm in vms:
            vm.kill()


def _machine(directory: Path, size_bytes: int) -> QemuVm:
    directory.mkdir()
    vm = QemuVm(directory, [VmDisk(DISK, size_bytes=size_bytes)])
    vm.start()
    return vm


def _tracked(vms: list[QemuVm], homes: list[Services]) -> list[Figure]:
    for vm, services in zip(vms, homes, strict=True):
        _change(vm, seed=0)
        back_up(services)
    idle = statistics.median(seconds(lambda: back_up(homes[0])) for _ in range(ROUNDS))
    home = homes[0].home.root
    command = statistics.median(seconds(lambda: holdfast(home, "backup", "lab")) for _ in range(CHANGE_ROUNDS))
    taken: list[list[float]] = [[], []]
    for number in range(1, CHANGE_ROUNDS + 1):
        for vm, services, times in zip(vms, homes, taken, strict=True):
            _change(vm, seed=number)
            times.append(seconds(lambda services=services: back_up(services)))
    large, small = map(statistics.median, taken)
    changed = "incremental, 1,000 changed extents of 64 KiB, QEMU"
    return [
        figure("incremental, no change, QEMU, 1 TiB sparse disk, in a running process", idle, "s", "<= 1"),
        figure("the same as a whole `holdfast backup` command", command, "s"),
        figure(f"{changed}, 64 GiB disk", small, "s"),
        figure(f"{changed}, 1 TiB disk", large, "s"),
        figure(f"{changed}, 1 TiB against 64 GiB", large / small, "ratio", "<= 1.5"),
    ]


def _change(vm: QemuVm, *, seed: int) -> None:
    """Write random bytes to places spread over the disk, as many as EXTENTS."""
    random = Random(seed)
    slots = vm.disks[DISK].size_bytes // EXTENT_BYTES // EXTENTS
    for number in range(EXTENTS):
        slot = number * slots + random.randrange(slots)
        vm.write(DISK, slot * EXTENT_BYTES, random.randbytes(EXTENT_BYTES))

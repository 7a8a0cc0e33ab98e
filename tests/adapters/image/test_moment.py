"""What was read is one moment, or the backup says that it was not."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from adapters.errors import AdapterError, SourceConflict
from adapters.image import ImageSource
from adapters.port import SnapshotRequest
from tests.support.eventually import eventually
from tests.support.image_folder import ImageFolder, machine, snapshot_of
from tests.support.nbd_peers import need

COARSEST_TICK_NS = 10_000_000  # of Linux, at 100 Hz
CONTENT = (b"content" * 1000).ljust(1 << 20, b"\0")


def write_in_place(path: Path) -> None:
    """Change some bytes."""
    with path.open("r+b") as file:
        file.seek(5000)
        file.write(b"changed")


def append(path: Path) -> None:
    """Make the file longer."""
    with path.open("ab") as file:
        file.write(b"more")


def replace(path: Path) -> None:
    """Put a copy in its place, with the same size and time."""
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    os.utime(other, ns=(0, path.stat().st_mtime_ns))
    os.replace(other, path)


CHANGES: list[Callable[[Path], None]] = [
    write_in_place,
    append,
    replace,
    lambda path: os.truncate(path, 100),
    Path.unlink,
]


@pytest.mark.parametrize("suffix", ["raw", "qcow2"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_change_while_reading_is_found(
    images: ImageFolder, source: ImageSource, suffix: str, change: Callable[[Path], None]
) -> None:
    """Writing, growing, cutting, replacing or removing the file after the snapshot fails confirm()."""
    images.convert(f"m1.{suffix}", suffix, CONTENT)
    with snapshot_of(source, machine(source, "m1")) as snapshot:
        snapshot.confirm()
        change(images.path / f"m1.{suffix}")
        with pytest.raises(AdapterError) as caught:
            snapshot.confirm()
        assert caught.value.code in {"image-changed", "image-missing"}


def test_a_write_in_the_same_tick_is_found(images: ImageFolder, source: ImageSource) -> None:
    """A write right before the snapshot does not hide one right after it, though the kernel's file times are coarse."""
    images.raw("m1.raw")
    found = machine(source, "m1")
    write_in_place(images.path / "m1.raw")
    with snapshot_of(source, found) as snapshot:
        assert time.time_ns() - (images.path / "m1.raw").stat().st_mtime_ns > COARSEST_TICK_NS
        write_in_place(images.path / "m1.raw")
        with pytest.raises(SourceConflict):
            snapshot.confirm()


def test_a_changed_backing_file_is_found(images: ImageFolder, source: ImageSource) -> None:
    """Every file of a chain is watched."""
    images.convert("base.raw", "raw", CONTENT)
    images.overlay("m1.qcow2", "base.raw", "raw")
    with snapshot_of(source, machine(source, "m1")) as snapshot:
        write_in_place(images.path / "base.raw")
        with pytest.raises(SourceConflict, match=r"base\.raw"):
            snapshot.confirm()


def test_a_file_cut_short_is_never_read_as_zeros(images: ImageFolder, source: ImageSource) -> None:
    """Reading behind the new end of a file that was cut raises."""
    images.raw("m1.raw")
    with snapshot_of(source, machine(source, "m1")) as snapshot:
        reader = snapshot.disks["m1.raw"].open()
        os.truncate(images.path / "m1.raw", 4096)
        with pytest.raises(SourceConflict):
            reader.pread_into(0, memoryview(bytearray(8192)))


@pytest.mark.parametrize("suffix", ["raw", "qcow2"])
def test_a_disk_resized_since_the_inventory(images: ImageFolder, source: ImageSource, suffix: str) -> None:
    """A disk of another size than the inventory said raises: the plan was made for the old size."""
    need("qemu-img")
    images.convert(f"m1.{suffix}", suffix, CONTENT)
    found = machine(source, "m1")
    subprocess.run(["qemu-img", "resize", "-q", "-f", suffix, images.path / f"m1.{suffix}", "2M"], check=True)
    with pytest.raises(SourceConflict):
        source.snapshot(found, SnapshotRequest("test", {f"m1.{suffix}": None}))


def test_an_image_of_a_running_machine_is_refused(images: ImageFolder, source: ImageSource) -> None:
    """A qcow2 that another qemu has open for writing raises image-in-use; it is still listed."""
    need("qemu-nbd", "qemu-system-x86_64")
    images.convert("m1.qcow2", "qcow2", CONTENT)
    log = images.path / "log.txt"
    command = ["qemu-system-x86_64", "-machine", "none", "-display", "none", "-nodefaults", "-monitor", "stdio"]
    command += ["-blockdev", f"driver=qcow2,node-name=d,file.driver=file,file.filename={images.path / 'm1.qcow2'}"]
    with log.open("wb") as output:
        vm = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=output)
        try:
            eventually(lambda: b"(qemu)" in log.read_bytes(), "qemu is up")
            (disk,) = machine(source, "m1").disks
            assert disk.exclusion is None
            assert disk.size_bytes == len(CONTENT)
            with pytest.raises(SourceConflict) as caught:
                source.snapshot(machine(source, "m1"), SnapshotRequest("test", {"m1.qcow2": None}))
            assert caught.value.code == "image-in-use"
        finally:
            vm.communicate(b"quit\n", timeout=30)

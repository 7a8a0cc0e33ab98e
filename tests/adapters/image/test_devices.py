"""Block devices: read directly, refused while they are in use, watched for writes. Needs loop devices."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters.errors import SourceConflict
from adapters.image import ImageSource
from adapters.port import SnapshotRequest
from tests.support.image_folder import ImageFolder, content_of, machine, snapshot_of
from tests.support.nbd_peers import need


@pytest.fixture
def device(images: ImageFolder, tmp_path: Path) -> Iterator[Path]:
    """A loop device of 8 MiB, linked into the folder as `lun`."""
    need("losetup", "mkfs.ext4")
    backing = tmp_path / "backing"
    with backing.open("wb") as file:
        file.truncate(8 << 20)
        file.write(b"lun" * 10_000)
    made = subprocess.run(["losetup", "--find", "--show", backing], capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"no loop device: {made.stderr.strip()}")
    device = Path(made.stdout.strip())
    (images.path / "lun").symlink_to(device)
    yield device
    subprocess.run(["losetup", "--detach", device], check=True)


def test_a_device_is_a_machine(device: Path, source: ImageSource) -> None:
    """A symlink to a block device is a machine with the device's size and bytes."""
    (disk,) = machine(source, "lun").disks
    assert (disk.key, disk.size_bytes, disk.exclusion) == ("lun", 8 << 20, None)
    assert content_of(source, "lun") == {"lun": (b"lun" * 10_000).ljust(8 << 20, b"\0")}
    with snapshot_of(source, machine(source, "lun")) as snapshot:
        reader = snapshot.disks["lun"].open()
        assert reader.transport == "device"
        assert sum(extent.length for extent in reader.extents()) == 8 << 20


def test_a_mounted_device_is_refused(device: Path, source: ImageSource, tmp_path: Path) -> None:
    """A device that is mounted raises image-in-use: its bytes change under us."""
    (tmp_path / "mount").mkdir()
    subprocess.run(["mkfs.ext4", "-q", device], check=True)
    mounted = subprocess.run(["mount", device, tmp_path / "mount"], capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"cannot mount: {mounted.stderr.strip()}")
    try:
        with pytest.raises(SourceConflict) as caught:
            source.snapshot(machine(source, "lun"), SnapshotRequest("test", {"lun": None}))
        assert caught.value.code == "image-in-use"
    finally:
        subprocess.run(["umount", tmp_path / "mount"], check=True)


def test_a_written_device_is_found(device: Path, source: ImageSource) -> None:
    """A write that reaches the device after the snapshot fails confirm(), and so does its removal."""
    with snapshot_of(source, machine(source, "lun")) as snapshot:
        snapshot.confirm()
        descriptor = os.open(device, os.O_WRONLY)
        try:
            os.pwrite(descriptor, b"changed", 4096)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        with pytest.raises(SourceConflict):
            snapshot.confirm()

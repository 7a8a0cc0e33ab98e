"""Formats by suffix and content, and the files that images name."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from adapters.errors import SourceDenied, SourceInvalid, SourceUnavailable
from adapters.image import ImageSource
from adapters.port import SnapshotRequest
from tests.support.image_folder import ImageFolder, content_of, machine
from tests.support.nbd_peers import need

MIB = 1 << 20
CONTENT = (bytes(range(256)) * 1024).ljust(3 * MIB, b"\0")


def excluded(source: ImageSource, name: str) -> str:
    """Return why a machine's only disk is excluded."""
    (disk,) = machine(source, name).disks
    assert disk.exclusion is not None
    return disk.exclusion.reason


@pytest.mark.parametrize(
    ("name", "image_format", "options"),
    [
        ("m1.qcow2", "qcow2", []),
        ("m1.QCOW2", "qcow2", ["-c"]),
        ("m1.vmdk", "vmdk", []),
        ("m1.vmdk", "vmdk", ["-o", "subformat=streamOptimized"]),
        ("m1.vmdk", "vmdk", ["-o", "subformat=monolithicFlat"]),
        ("m1.vmdk", "vmdk", ["-o", "subformat=twoGbMaxExtentSparse"]),
        ("m1.vhdx", "vhdx", []),
        ("m1.vhd", "vpc", ["-o", "force_size=on"]),
        ("m1.vhd", "vpc", ["-o", "force_size=on,subformat=fixed"]),
    ],
)
def test_each_format_is_read(
    images: ImageFolder, source: ImageSource, name: str, image_format: str, options: list[str]
) -> None:
    """Size and bytes of the disk inside are right, and extent files of a VMDK are no machines of their own."""
    images.convert(name, image_format, CONTENT, *options)
    (found,) = source.inventory()
    assert (found.key, found.name) == (name, "m1")
    assert found.disks[0].size_bytes == len(CONTENT)
    assert content_of(source, "m1") == {name: CONTENT}


def test_a_raw_disk_is_raw_whatever_a_guest_writes(images: ImageFolder, source: ImageSource, tmp_path: Path) -> None:
    """A qcow2 header in a raw disk's first sector names no file to us: the bytes are read as they stand."""
    (tmp_path / "secret").write_bytes(b"secret" * 1000)
    images.raw("m1.raw")
    images.overlay("header.qcow2", str(tmp_path / "secret"), "raw")
    header = (images.path / "header.qcow2").read_bytes()
    (images.path / "header.qcow2").unlink()
    disk = header.ljust(MIB, b"\0")
    (images.path / "m1.raw").write_bytes(disk)
    assert content_of(source, "m1") == {"m1.raw": disk}


def test_a_backing_chain_inside_the_folder_is_read(images: ImageFolder, source: ImageSource) -> None:
    """An overlay shows its backing files' data, through folders and with either format."""
    (images.path / "base").mkdir()
    images.convert("base/golden.raw", "raw", CONTENT)
    images.overlay("base/middle.qcow2", "golden.raw", "raw", "3M")
    images.overlay("m1.qcow2", "base/middle.qcow2", "qcow2", "3M")
    need("qemu-io")
    subprocess.run(
        ["qemu-io", "-c", "write -P 7 1M 64k", images.path / "m1.qcow2"], check=True, stdout=subprocess.DEVNULL
    )
    expected = bytearray(CONTENT)
    expected[MIB : MIB + 65536] = b"\7" * 65536
    assert content_of(source, "m1") == {"m1.qcow2": bytes(expected)}


@pytest.mark.parametrize("link", [False, True])
def test_a_backing_file_outside_is_refused(
    images: ImageFolder, source: ImageSource, tmp_path: Path, link: bool
) -> None:
    """A chain that leads out of the folder, by its name or through a symlink, is excluded and never opened."""
    (tmp_path / "secret.raw").write_bytes(b"secret" * 10_000)
    if link:
        (images.path / "link.raw").symlink_to(tmp_path / "secret.raw")
    images.overlay("m1.qcow2", "link.raw" if link else "../secret.raw", "raw")
    assert "outside" in excluded(source, "m1")
    with pytest.raises(SourceDenied) as caught:
        source.snapshot(machine(source, "m1"), SnapshotRequest("test", {"m1.qcow2": None}))
    assert caught.value.code == "image-outside"


@pytest.mark.parametrize("name", ["nbd:127.0.0.1:1", 'json:{"driver":"file","filename":"/etc/hostname"}', "ssh://h/x"])
def test_a_backing_name_that_is_a_protocol_is_refused(images: ImageFolder, source: ImageSource, name: str) -> None:
    """Names that make qemu open something else than a file are excluded."""
    images.overlay("m1.qcow2", name, "raw")
    assert "outside" in excluded(source, "m1")


def test_a_backing_file_without_a_format(images: ImageFolder, source: ImageSource) -> None:
    """An old overlay that does not state its backing format gets it from the suffix, never from the content."""
    images.convert("base.qcow2", "qcow2", CONTENT)
    images.overlay("m1.qcow2", "base.qcow2", "qcow2", "3M")
    path = images.path / "m1.qcow2"
    header = bytearray(path.read_bytes())
    at = header.index(bytes.fromhex("e2792aca"))
    header[at : at + 4] = bytes.fromhex("12345678")
    path.write_bytes(header)
    assert content_of(source, "m1") == {"m1.qcow2": CONTENT}
    (images.path / "base.qcow2").rename(images.path / "base-qcow2")
    path.write_bytes(header.replace(b"base.qcow2", b"base-qcow2"))
    assert "no format" in excluded(source, "m1")
    path.write_bytes(header.replace(b"base.qcow2", b"base\0qcow2"))
    assert "outside" in excluded(source, "m1")


def test_a_missing_backing_file_is_named(images: ImageFolder, source: ImageSource) -> None:
    """A chain whose base is gone is excluded with the base's name."""
    images.overlay("m1.qcow2", "gone.qcow2")
    assert "gone.qcow2" in excluded(source, "m1")


def test_a_chain_in_a_circle_ends(images: ImageFolder, source: ImageSource) -> None:
    """An image that builds on itself is excluded."""
    images.overlay("m1.qcow2", "m1.qcow2")
    assert "too long a chain" in excluded(source, "m1")


def test_an_external_data_file_is_refused(images: ImageFolder, source: ImageSource) -> None:
    """A qcow2 that keeps its data in a file of its choice is excluded."""
    images.convert("m1.qcow2", "qcow2", CONTENT, "-o", f"data_file={images.path}/data.bin")
    assert "another file" in excluded(source, "m1")


def test_a_vmdk_that_names_a_file_outside_is_refused(images: ImageFolder, source: ImageSource, tmp_path: Path) -> None:
    """A VMDK descriptor is text that can name any file: one outside of the folder is excluded."""
    images.convert("m1.vmdk", "vmdk", CONTENT, "-o", "subformat=monolithicFlat")
    (images.path / "m1-flat.vmdk").rename(tmp_path / "m1-flat.vmdk")
    descriptor = images.path / "m1.vmdk"
    for name in (str(tmp_path / "m1-flat.vmdk"), "../m1-flat.vmdk"):
        text = descriptor.read_text()
        old = next(line for line in text.splitlines() if line.startswith("RW "))
        descriptor.write_text(text.replace(old, f'{old.rsplit(" ", 2)[0]} "{name}" 0'))
        assert "outside" in excluded(source, "m1")


def test_without_qemu(images: ImageFolder, source: ImageSource, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where qemu's tools are missing raw images are read, and others are excluded with what to install."""
    content = images.raw("plain.raw")
    images.convert("m1.qcow2", "qcow2", CONTENT)
    monkeypatch.setenv("PATH", "/nonexistent")
    assert source.check().version == "qemu-nbd not installed"
    assert content_of(source, "plain") == {"plain.raw": content}
    (disk,) = machine(source, "m1").disks
    assert disk.exclusion is not None
    assert "qemu-utils" in disk.exclusion.way_out
    with pytest.raises(SourceUnavailable) as caught:
        source.snapshot(machine(source, "m1"), SnapshotRequest("test", {"m1.qcow2": None}))
    assert caught.value.code == "qemu-nbd-missing"


def test_an_encrypted_image_is_refused(images: ImageFolder, source: ImageSource) -> None:
    """A qcow2 whose header says LUKS is excluded: its blocks would be noise."""
    images.convert("m1.qcow2", "qcow2", CONTENT)
    with (images.path / "m1.qcow2").open("r+b") as file:
        file.seek(32)
        file.write(b"\0\0\0\2")
    assert "encrypted" in excluded(source, "m1")
    with pytest.raises(SourceInvalid):
        source.snapshot(machine(source, "m1"), SnapshotRequest("test", {"m1.qcow2": None}))

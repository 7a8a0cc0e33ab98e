"""Which machines a folder holds, and what is said about entries that are no good."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from adapters.errors import SourceInvalid, SourceNotFound
from adapters.image import ImageSource
from adapters.port import SnapshotRequest
from tests.support.image_folder import ImageFolder, content_of, machine


def test_files_folders_and_links_are_machines(images: ImageFolder, source: ImageSource, tmp_path: Path) -> None:
    """An image is a machine named by its stem, a subfolder one with a disk each; other files are none."""
    images.raw("web.raw")
    images.raw("db.img")
    (images.path / "farm").mkdir()
    images.raw("farm/a.raw")
    images.raw("farm/b.raw", 2 << 20)
    (images.path / "notes").mkdir()
    (images.path / "notes" / "readme.txt").write_text("no image")
    (images.path / "readme.txt").write_text("no image")
    images.raw(".hidden.raw")
    elsewhere = ImageFolder(tmp_path)
    elsewhere.raw("lun.raw")
    (images.path / "linked.raw").symlink_to(tmp_path / "lun.raw")
    machines = {found.name: found for found in source.inventory()}
    assert list(machines) == ["db", "farm", "linked", "web"]
    assert machines["web"].key == "web.raw"
    assert [(disk.key, disk.size_bytes) for disk in machines["farm"].disks] == [("a.raw", 1 << 20), ("b.raw", 2 << 20)]
    assert machines["linked"].disks[0].exclusion is None


def test_two_files_of_one_stem_are_two_machines(images: ImageFolder, source: ImageSource) -> None:
    """Files that share a stem go by their full names; keys do not change when such a neighbour comes."""
    images.raw("m1.raw")
    assert [(m.key, m.name) for m in source.inventory()] == [("m1.raw", "m1")]
    images.raw("m1.img")
    assert [(m.key, m.name) for m in source.inventory()] == [("m1.img", "m1.img"), ("m1.raw", "m1.raw")]


def test_a_rewritten_image_is_the_same_disk(images: ImageFolder, source: ImageSource) -> None:
    """Replacing a file by another of its name keeps key and identity: every block is compared anyway."""
    images.raw("m1.raw", seed=1)
    before = machine(source, "m1")
    content = images.raw("other.raw", seed=2)
    os.replace(images.path / "other.raw", images.path / "m1.raw")
    assert machine(source, "m1") == before
    assert content_of(source, "m1") == {"m1.raw": content}


def test_a_folder_without_images_is_said_to_be(images: ImageFolder, source: ImageSource, tmp_path: Path) -> None:
    """A folder that is empty, missing or none raises, each with its own code."""
    for look in (source.check, source.inventory):
        with pytest.raises(SourceNotFound) as caught:
            look()
        assert caught.value.code == "image-none"
        assert ".qcow2" in caught.value.hint
    with pytest.raises(SourceNotFound) as missing:
        ImageSource("x", tmp_path / "none", tmp_path / "run").check()
    assert missing.value.code == "image-missing"
    (tmp_path / "file").touch()
    with pytest.raises(SourceInvalid) as file:
        ImageSource("x", tmp_path / "file", tmp_path / "run").check()
    assert file.value.code == "image-dir"


def test_check_says_what_it_can_read(images: ImageFolder, source: ImageSource) -> None:
    """A check names qemu-nbd's version when it is installed."""
    images.raw("m1.raw")
    fact = source.check()
    assert fact.product == "Image folder"
    assert fact.version.startswith("qemu-nbd ")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda folder: (folder / "bad.raw").symlink_to(folder / "none"), "symlink to nowhere"),
        (lambda folder: (folder / "bad").symlink_to("/dev/none"), "symlink to nowhere"),
        (lambda folder: (folder / "bad.raw").touch(), "empty"),
        (lambda folder: (folder / "bad.qcow2").write_bytes(b"plain" * 1000), "no qcow2 image"),
        (lambda folder: (folder / "bad.vmdk").write_bytes(b"plain" * 1000), "no vmdk image"),
        (lambda folder: (folder / "bad.vhdx").write_bytes(b"plain" * 1000), "no vhdx image"),
        (lambda folder: (folder / "bad.vhd").write_bytes(b"plain" * 1000), "no vhd image"),
        (lambda folder: (folder / "bad.qcow2").write_bytes(b"QFI\xfb"), "cut off"),
        (lambda folder: (folder / "bad.qcow2").write_bytes(b"QFI\xfb\0\0\0\x03" + b"\xff" * 4096), "encrypted"),
        (lambda folder: (folder / "bad.qcow2").write_bytes(b"QFI\xfb\0\0\0\x02" + bytes(4096)), "cannot open"),
    ],
)
def test_one_bad_disk_does_not_hide_the_others(
    images: ImageFolder, source: ImageSource, spoil: Callable[[Path], object], reason: str
) -> None:
    """A disk that cannot be read is listed with the reason and a way out; its snapshot raises, others work."""
    content = images.raw("good.raw")
    spoil(images.path)
    bad = machine(source, "bad")
    (disk,) = bad.disks
    assert disk.exclusion is not None
    assert reason in disk.exclusion.reason
    assert disk.exclusion.way_out
    with pytest.raises(Exception, match=reason):
        source.snapshot(bad, SnapshotRequest("test", {disk.key: None}))
    assert content_of(source, "good") == {"good.raw": content}


@contextmanager
def nobody() -> Iterator[None]:
    """Without the rights of root, which may read everything."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(before)


def test_a_file_without_rights_is_excluded(tmp_path: Path) -> None:
    """An image that this user may not read is listed with that reason."""
    with TemporaryDirectory() as directory:
        folder = Path(directory)
        folder.chmod(0o755)
        (folder / "m1.raw").write_bytes(bytes(65536))
        (folder / "m1.raw").chmod(0)
        source = ImageSource("lab", folder, tmp_path)
        with nobody():
            (disk,) = machine(source, "m1").disks
        source.close()
    assert disk.exclusion is not None
    assert "cannot be read" in disk.exclusion.reason


def test_sockets_and_pipes_are_no_disks(
    images: ImageFolder, source: ImageSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pipe named like an image is not opened, which would wait for ever."""
    images.raw("m1.raw")
    os.mkfifo(images.path / "pipe.raw")
    with socket.socket(socket.AF_UNIX) as sock:
        monkeypatch.chdir(images.path)
        sock.bind("sock.raw")
    assert [found.name for found in source.inventory()] == ["m1"]


def test_an_image_that_vanished(images: ImageFolder, source: ImageSource) -> None:
    """A file that goes away between inventory and snapshot raises SourceNotFound."""
    images.raw("m1.raw")
    images.raw("m2.raw")
    found = machine(source, "m1")
    (images.path / "m1.raw").unlink()
    with pytest.raises(SourceNotFound) as caught:
        source.snapshot(found, SnapshotRequest("test", {"m1.raw": None}))
    assert caught.value.code == "image-missing"

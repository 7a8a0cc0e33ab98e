"""Folders of VHDX and VHD files: chains with their parents, and what a child says about its parent."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from adapters.errors import SourceConflict
from adapters.image import ImageSource
from adapters.image.images import open_image
from adapters.image.snapshot import ImageDisk
from tests.support import vhd_files, vhdx_files
from tests.support.image_folder import ImageFolder, content_of, machine, snapshot_of

MIB = 1 << 20
SIZE = 8 * MIB


def excluded(source: ImageSource, name: str) -> str:
    """Return why a machine's only disk is excluded."""
    (disk,) = machine(source, name).disks
    assert disk.exclusion is not None
    return disk.exclusion.reason


def chain(folder: Path, *, seed: int = 1) -> bytes:
    """Make `web.vhdx` with two checkpoints; return what the guest sees."""
    some = random.Random(seed)
    base, first, second = folder / "web.vhdx", folder / "web_1.avhdx", folder / "web_2.avhdx"
    vhdx_files.create(base, SIZE)
    vhdx_files.write(base, 0, some.randbytes(3 * MIB))
    vhdx_files.create_child(first, base)
    vhdx_files.write(first, MIB + 512, some.randbytes(MIB))
    vhdx_files.create_child(second, first)
    vhdx_files.write(second, 5 * MIB, some.randbytes(70 * 512))
    return vhdx_files.content(second)


def test_the_newest_file_of_a_chain_is_the_disk(images: ImageFolder, source: ImageSource) -> None:
    """A chain is one machine, of its newest file, and shows what the guest saw."""
    content = chain(images.path)
    assert [found.key for found in source.inventory()] == ["web_2.avhdx"]
    assert content_of(source, "web_2") == {"web_2.avhdx": content}


def test_two_children_of_one_parent_are_two_machines(images: ImageFolder, source: ImageSource) -> None:
    """Branches of a chain are each a disk; what both build on is none."""
    content = chain(images.path)
    vhdx_files.create_child(images.path / "other.avhdx", images.path / "web_1.avhdx")
    assert [found.key for found in source.inventory()] == ["other.avhdx", "web_2.avhdx"]
    assert content_of(source, "web_2") == {"web_2.avhdx": content}
    assert content_of(source, "other")["other.avhdx"] == vhdx_files.content(images.path / "web_1.avhdx")


def test_a_parent_in_another_folder_of_the_source(images: ImageFolder, source: ImageSource) -> None:
    """Relative paths are followed within the source's folder, whatever names Windows gave them elsewhere."""
    for name in ("base", "web"):
        (images.path / name).mkdir()
    base, child = images.path / "base" / "golden.vhdx", images.path / "web" / "disk.avhdx"
    vhdx_files.create(base, SIZE)
    vhdx_files.write(base, MIB, b"golden".ljust(512))
    vhdx_files.create_child(child, base, relative_path="..\\base\\golden.vhdx")
    assert [found.key for found in source.inventory()] == ["web"]
    assert content_of(source, "web") == {"disk.avhdx": vhdx_files.content(child)}


def test_a_moved_chain_is_found_beside_the_child(images: ImageFolder, source: ImageSource) -> None:
    """Where paths are another host's, the parent is the file of that name beside the child."""
    base, child = images.path / "web.vhdx", images.path / "web_1.avhdx"
    vhdx_files.create(base, SIZE)
    stated = {"relative_path": "..\\gone\\web.vhdx", "absolute_win32_path": "D:\\VMs\\web.vhdx"}
    vhdx_files.create_child(child, base, **stated)
    assert content_of(source, "web_1") == {"web_1.avhdx": bytes(SIZE)}


def test_a_parents_name_in_another_case(images: ImageFolder, source: ImageSource) -> None:
    """Windows does not tell upper from lower case, so neither does the search for a parent."""
    base, child = images.path / "Web.VHDX", images.path / "web_1.avhdx"
    vhdx_files.create(base, SIZE)
    vhdx_files.create_child(child, base, relative_path=".\\WEB.vhdx")
    assert content_of(source, "web_1") == {"web_1.avhdx": bytes(SIZE)}


@pytest.mark.parametrize("stated", ["..\\secret.vhdx", "..\\..\\..\\etc\\passwd", "sub\\..\\..\\secret.vhdx"])
def test_a_parent_outside_is_refused(images: ImageFolder, source: ImageSource, stated: str) -> None:
    """A child cannot make us open a file outside of the folder, even if that is its parent."""
    secret = images.path.parent / "secret.vhdx"
    vhdx_files.create(secret, SIZE)
    vhdx_files.create_child(images.path / "web.avhdx", secret, relative_path=stated, absolute_win32_path=str(secret))
    assert "outside of the source's folder" in excluded(source, "web")


def test_a_link_out_of_the_folder_is_no_parent(images: ImageFolder, source: ImageSource) -> None:
    """A symlink beside the child does not lead out either."""
    secret = images.path.parent / "secret.vhdx"
    vhdx_files.create(secret, SIZE)
    (images.path / ".secret.vhdx").symlink_to(secret)
    vhdx_files.create_child(images.path / "web.avhdx", secret, relative_path=".\\.secret.vhdx")
    assert "outside of the source's folder" in excluded(source, "web")


@pytest.mark.parametrize(
    "stated", ["x" * 5000 + ".vhdx", "gone\\" * 3000, "web.vhdx\\x", "\ud800.vhdx", "\0", ".", "..", "C:"]
)
def test_a_name_that_no_file_can_have_is_a_missing_parent(
    images: ImageFolder, source: ImageSource, stated: str
) -> None:
    """Nonsense in a locator is told of the child alone; the rest of the folder is listed as ever."""
    base, child = images.path / "web.vhdx", images.path / "web_1.avhdx"
    vhdx_files.create(base, SIZE)
    vhdx_files.create_child(child, base, relative_path=stated, absolute_win32_path=stated)
    assert [found.key for found in source.inventory()] == ["web.vhdx", "web_1.avhdx"]
    assert excluded(source, "web_1")


def test_a_missing_parent_is_told(images: ImageFolder, source: ImageSource) -> None:
    """Without its parent a child is listed, with the reason why it cannot be read."""
    chain(images.path)
    (images.path / "web.vhdx").unlink()
    assert "is not there" in excluded(source, "web_2")


def test_a_changed_parent_stays_a_machine(images: ImageFolder, source: ImageSource) -> None:
    """A file that is no longer what its child was made on is not hidden by that child, which cannot be read."""
    base, child = images.path / "web.vhdx", images.path / "web_1.avhdx"
    vhdx_files.create(base, SIZE)
    vhdx_files.create_child(child, base)
    vhdx_files.write(base, 0, bytes(512))
    assert [found.key for found in source.inventory()] == ["web.vhdx", "web_1.avhdx"]
    assert "is not the disk that" in excluded(source, "web_1")


def make_vhd_chain(folder: Path) -> tuple[str, bytes]:
    """A differencing VHD on a dynamic one."""
    some = random.Random(3)
    base, child = folder / "web.vhd", folder / "web_1.avhd"
    vhd_files.create(base, SIZE)
    vhd_files.write(base, 0, some.randbytes(3 * MIB))
    vhd_files.create_child(child, base)
    vhd_files.write(child, MIB + 512, some.randbytes(512 * 9))
    return child.name, vhd_files.content(child)


def make_vhdx_chain(folder: Path) -> tuple[str, bytes]:
    """A chain of three VHDX files."""
    content = chain(folder)
    return "web_2.avhdx", content


@pytest.mark.parametrize("make", [make_vhd_chain, make_vhdx_chain])
@pytest.mark.parametrize("which", ["newest", "oldest"])
def test_a_change_of_any_file_is_found(
    images: ImageFolder, source: ImageSource, make: Callable[[Path], tuple[str, bytes]], which: str
) -> None:
    """Writing to the child or to a parent while it is read fails confirm()."""
    name, content = make(images.path)
    stem = name.partition(".")[0]
    assert content_of(source, stem) == {name: content}
    with snapshot_of(source, machine(source, stem)) as snapshot:
        snapshot.disks[name].open()
        changed = images.path / name if which == "newest" else next(images.path.glob("web.*"))
        with changed.open("r+b") as file:
            file.seek(-1, 2)
            file.write(b"!")
        with pytest.raises(SourceConflict) as caught:
            snapshot.confirm()
    assert caught.value.code == "image-changed"


def test_another_parent_since_the_inspection_is_a_conflict(
    images: ImageFolder, source: ImageSource, tmp_path: Path
) -> None:
    """A child that was replaced by one on another parent is not read, since nobody watches that parent."""
    child = images.path / "web.avhdx"
    for name in ("one.vhdx", "two.vhdx"):
        vhdx_files.create(images.path / name, SIZE)
    vhdx_files.create_child(child, images.path / "one.vhdx")
    inspected = open_image(child, images.path)
    (disk,) = machine(source, "web").disks
    child.unlink()
    vhdx_files.create_child(child, images.path / "two.vhdx")
    with pytest.raises(SourceConflict) as caught:
        ImageDisk(disk, inspected, images.path, tmp_path / "runtime", "web.avhdx", "test")
    assert caught.value.code == "image-changed"

"""Parents: the right one, where it is allowed, or an error that says which one is missing."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from uuid import uuid4

import pytest

from adapters.errors import SourceConflict, SourceInvalid, SourceNotFound
from adapters.virtualdisk.chain import MOST_FILES, open_disk, parent_of
from adapters.virtualdisk.file import LocalFile, RandomFile
from adapters.virtualdisk.locator import ParentLocator
from tests.support import vhd_files, vhdx_files
from tests.support.virtual_disks import beside, by_libvhdi, content, opened, read

MIB = 1 << 20
SIZE = 8 * MIB


class Opened:
    """Opens local files and counts those that were not closed again."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.open = 0

    def __call__(self, path: str) -> RandomFile:
        file = LocalFile(path)
        self.paths.append(path)
        self.open += 1
        close = file.close

        def counted() -> None:
            self.open -= 1
            close()

        file.close = counted  # type: ignore[method-assign]
        return file


@pytest.fixture
def chain(tmp_path: Path) -> list[Path]:
    """A base and two checkpoints, the newest first."""
    some = random.Random(7)
    paths = [tmp_path / name for name in ("base.vhdx", "one.avhdx", "two.avhdx")]
    vhdx_files.create(paths[0], SIZE)
    vhdx_files.write(paths[0], 0, some.randbytes(5 * MIB))
    for parent, child in pairwise(paths):
        vhdx_files.create_child(child, parent)
        vhdx_files.write(child, some.randrange(100) * 512, some.randbytes(2 * MIB + 512))
    return paths[::-1]


def test_a_chain_shows_what_the_guest_sees(chain: list[Path]) -> None:
    """Three files give the disk, as libvhdi reads it too."""
    whole = content(chain[0])
    assert whole == vhdx_files.content(chain[0])
    assert whole == by_libvhdi(*chain)


def test_a_parent_that_was_written_is_refused(chain: list[Path]) -> None:
    """Data written to a parent after the child was made is not mixed with the child's."""
    vhdx_files.write(chain[2], 0, bytes(512))
    opening = Opened()
    with pytest.raises(SourceConflict) as caught:
        open_disk(str(chain[0]), opening, beside)
    assert caught.value.code == "vdisk-parent-changed"
    assert opening.open == 0


def test_another_disk_in_the_parents_place_is_refused(chain: list[Path]) -> None:
    """A file of the right name is not the parent for that."""
    chain[2].unlink()
    vhdx_files.create(chain[2], SIZE)
    with pytest.raises(SourceConflict) as caught:
        content(chain[0])
    assert caught.value.code == "vdisk-parent-changed"


@pytest.mark.parametrize("second", ["right", "wrong", "null"])
def test_the_second_linkage_counts_too(tmp_path: Path, second: str) -> None:
    """A parent may be named by parent_linkage2, as while a merge is under way; a null one names nobody."""
    base, child = tmp_path / "base.vhdx", tmp_path / "child.avhdx"
    vhdx_files.create(base, SIZE)
    named = {"right": vhdx_files.data_write_id(base), "wrong": uuid4(), "null": vhdx_files.NO_GUID}[second]
    vhdx_files.create_child(child, base, parent_linkage=f"{{{uuid4()}}}", parent_linkage2=f"{{{named}}}")
    if second == "right":
        assert content(child) == bytes(SIZE)
    else:
        with pytest.raises(SourceConflict):
            content(child)


def test_a_missing_parent_is_named(chain: list[Path]) -> None:
    """The error says which file is not there and what the child calls it; nothing stays open."""
    chain[2].unlink()
    opening = Opened()
    with pytest.raises(SourceNotFound, match=r"base\.vhdx") as caught:
        open_disk(str(chain[0]), opening, beside)
    assert caught.value.code == "vdisk-parent-missing"
    assert opening.open == 0
    with pytest.raises(SourceNotFound) as gone:
        open_disk(str(chain[0]), LocalFile, lambda _, locator: str(chain[2]))
    assert gone.value.code in {"file-missing", "vdisk-parent-missing"}


def test_only_located_files_are_opened(chain: list[Path], tmp_path: Path) -> None:
    """Whatever a locator says, the reader opens what `locate` returns and nothing else."""
    for number, stated in enumerate(["..\\..\\etc\\passwd", "\\\\evil\\share\\x.vhdx", "C:\\Windows\\x", "\0", ""]):
        child = tmp_path / f"child{number}.avhdx"
        vhdx_files.create_child(child, chain[0], relative_path=stated, absolute_win32_path=stated)
        opening, seen = Opened(), []

        def refuse(child_path: str, locator: ParentLocator, seen: list[ParentLocator] = seen) -> None:
            seen.append(locator)

        with pytest.raises(SourceNotFound):
            open_disk(str(child), opening, refuse)
        assert opening.paths == [str(child)]
        assert seen[0].relative_path == stated.rstrip("\0")


def test_a_cycle_is_an_error(tmp_path: Path) -> None:
    """Two files that name each other end in an error, not in an endless walk."""
    base, child = tmp_path / "base.vhdx", tmp_path / "child.avhdx"
    vhdx_files.create(base, SIZE)
    vhdx_files.create_child(child, base)
    with pytest.raises(SourceInvalid) as caught:
        open_disk(str(child), LocalFile, lambda path, _: path)
    assert caught.value.code == "vdisk-chain"
    base.unlink()
    vhdx_files.create_child(base, child, parent_linkage=f"{{{vhdx_files.data_write_id(child)}}}")
    vhdx_files.set_parent(child, base)
    with pytest.raises(SourceInvalid) as caught:
        content(child)
    assert caught.value.code == "vdisk-chain"


def test_a_chain_has_a_limit(tmp_path: Path) -> None:
    """A cycle that hides behind ever new names ends too."""
    base, child = tmp_path / "base.vhdx", tmp_path / "child.avhdx"
    vhdx_files.create(base, SIZE)
    linkage = f"{{{vhdx_files.data_write_id(base)}}}"
    vhdx_files.create_child(child, base, parent_linkage=linkage)
    with vhdx_files.VhdxFile(child, writing=True) as file:
        file.put_header(data_write=vhdx_files.data_write_id(base))
    opening = Opened()
    links = [tmp_path / f"{number}.avhdx" for number in range(MOST_FILES + 5)]
    for link in links:
        link.symlink_to(child)
    with pytest.raises(SourceInvalid) as caught:
        open_disk(str(child), opening, lambda _, __: str(links[len(opening.paths) % len(links)]))
    assert caught.value.code == "vdisk-chain"
    assert opening.open == 0


def test_a_grown_child_shows_zeros_behind_its_parent(tmp_path: Path) -> None:
    """Behind the end of a parent is nothing of it, whatever its last block holds; the new space can be written."""
    base, child, last = (tmp_path / name for name in ("base.vhdx", "child.avhdx", "last.avhdx"))
    vhdx_files.create(base, 5 * MIB)
    vhdx_files.write(base, 0, b"\xaa" * 5 * MIB)
    with vhdx_files.VhdxFile(base, writing=True) as file:
        _, place = file.entry(file.payload_index(2))
        file.put(place, b"\xbb" * 2 * MIB)  # the last block goes on behind the disk's end
        file.new_data()
    vhdx_files.create_child(child, base)
    vhdx_files.resize(child, SIZE)
    vhdx_files.create_child(last, child)
    vhdx_files.write(last, 7 * MIB, b"\xcc" * 512)
    expected = b"\xaa" * 4 * MIB + b"\xbb" * MIB + bytes(2 * MIB) + b"\xcc" * 512 + bytes(MIB - 512)
    assert content(last) == expected == vhdx_files.content(last)
    with opened(last) as disk:
        assert read(disk, 5 * MIB - 100, 200) == b"\xbb" * 100 + bytes(100)


def test_a_shrunk_child_ends_where_it_says(tmp_path: Path) -> None:
    """A child may be smaller than its parent."""
    base, child = tmp_path / "base.vhdx", tmp_path / "child.avhdx"
    vhdx_files.create(base, SIZE)
    vhdx_files.write(base, 0, b"\xaa" * SIZE)
    vhdx_files.create_child(child, base)
    vhdx_files.resize(child, 3 * MIB)
    assert content(child) == b"\xaa" * 3 * MIB


def test_reads_outside_of_the_disk_are_refused(chain: list[Path]) -> None:
    """No byte is made up behind the end or before the start."""
    with opened(chain[0]) as disk:
        for offset, length in ((SIZE, 1), (-1, 1), (SIZE - 1, 2), (1 << 63, 1)):
            with pytest.raises(SourceInvalid) as caught:
                read(disk, offset, length)
            assert caught.value.code == "read-past-end"
        assert read(disk, SIZE, 0) == b""


def test_formats_are_not_mixed(tmp_path: Path) -> None:
    """A VHD is not the parent of a VHDX, even where a folder puts it there."""
    base, child, other = tmp_path / "base.vhdx", tmp_path / "child.avhdx", tmp_path / "other.vhd"
    vhdx_files.create(base, SIZE)
    vhdx_files.create_child(child, base)
    vhd_files.create(other, SIZE)
    with pytest.raises(SourceConflict):
        open_disk(str(child), LocalFile, lambda _, __: str(other))


@pytest.mark.parametrize("make", [bytes, lambda size: b"raw" * (size // 3)])
def test_a_file_of_neither_format_is_refused(tmp_path: Path, make: Callable[[int], bytes]) -> None:
    """A raw disk, or a file too short for either format, is not guessed at."""
    for size in (0, 1, 300, 512, 5000):
        path = tmp_path / "disk.vhdx"
        path.write_bytes(make(size))
        with pytest.raises(SourceInvalid) as caught:
            content(path)
        assert caught.value.code == "vdisk-format"


def test_the_parent_of_a_file(chain: list[Path]) -> None:
    """`parent_of` names the next file, none for a base, and refuses one that does not fit."""
    assert parent_of(str(chain[0]), LocalFile, beside) == str(chain[1])
    assert parent_of(str(chain[2]), LocalFile, beside) is None
    vhdx_files.write(chain[1], 0, bytes(512))
    with pytest.raises(SourceConflict):
        parent_of(str(chain[0]), LocalFile, beside)

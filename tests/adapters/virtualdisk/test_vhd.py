"""VHD: fixed, dynamic and differencing, big-endian, with bitmaps that count from the highest bit."""

from __future__ import annotations

import random
import struct
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.errors import AdapterError, SourceConflict, SourceCorrupt, SourceInvalid
from adapters.virtualdisk.chain import open_disk
from adapters.virtualdisk.file import LocalFile
from adapters.virtualdisk.locator import ParentLocator
from tests.support import vhd_files
from tests.support.nbd_peers import need
from tests.support.virtual_disks import by_libvhdi, content, opened, read

MIB = 1 << 20
SIZE = 5 * MIB + 512


@pytest.fixture
def chain(tmp_path: Path) -> list[Path]:
    """A dynamic disk and two children, the newest first."""
    some = random.Random(3)
    paths = [tmp_path / f"{number}.vhd" for number in range(3)]
    vhd_files.create(paths[0], SIZE)
    for number, path in enumerate(paths):
        if number:
            vhd_files.create_child(path, paths[number - 1])
        for _ in range(20):
            offset = some.randrange(SIZE // 512 - 40) * 512
            vhd_files.write(path, offset, some.randbytes(512 * some.randrange(1, 40)))
    return paths[::-1]


@pytest.mark.parametrize("options", ["subformat=dynamic,force_size=on", "subformat=fixed,force_size=on"])
def test_what_qemu_makes_is_read(tmp_path: Path, options: str) -> None:
    """Fixed and dynamic disks of qemu give their bytes, and their size to the byte."""
    need("qemu-img")
    data = random.Random(1).randbytes(MIB).ljust(SIZE, b"\0")
    (tmp_path / "raw").write_bytes(data)
    disk = tmp_path / "disk.vhd"
    command = ["qemu-img", "convert", "-f", "raw", "-O", "vpc", "-o", options, tmp_path / "raw", disk]
    subprocess.run(command, check=True)
    assert content(disk) == data
    with opened(disk) as found:
        assert found.format == "vhd"
        assert found.logical_sector_bytes == 512


def test_a_chain_shows_what_the_guest_sees(chain: list[Path]) -> None:
    """Each sector comes from the nearest file that has it."""
    assert content(chain[0]) == vhd_files.content(chain[0])


def test_libvhdi_agrees_where_it_can(tmp_path: Path) -> None:
    """With eight sectors to a change libvhdi shows the same; behind a set bit it takes the rest of a byte for set."""
    some = random.Random(5)
    paths = [tmp_path / f"{number}.vhd" for number in range(3)]
    size = 5 * MIB
    vhd_files.create(paths[0], size)
    for number, path in enumerate(paths):
        if number:
            vhd_files.create_child(path, paths[number - 1])
        for _ in range(20):
            vhd_files.write(path, some.randrange(size // 4096 - 9) * 4096, some.randbytes(4096 * some.randrange(1, 9)))
    assert content(paths[2]) == by_libvhdi(*paths[::-1]) == vhd_files.content(paths[2])


@pytest.mark.parametrize("sector", [0, 1, 6, 7, 8, 9, 4094, 4095, 4096])
def test_bits_count_from_the_highest(tmp_path: Path, sector: int) -> None:
    """A single sector of a child is that sector and no other."""
    base, child = tmp_path / "base.vhd", tmp_path / "child.vhd"
    vhd_files.create(base, SIZE)
    vhd_files.write(base, 0, b"\xaa" * SIZE)
    vhd_files.create_child(child, base)
    vhd_files.write(child, sector * 512, b"\xbb" * 512)
    expected = bytearray(b"\xaa" * SIZE)
    expected[sector * 512 : (sector + 1) * 512] = b"\xbb" * 512
    assert content(child) == expected


def test_the_footers_copy_stands_in(chain: list[Path]) -> None:
    """A footer at the end that was not written is replaced by the one at the start; without either nothing is read."""
    expected = vhd_files.content(chain[0])
    with chain[0].open("r+b") as file:
        file.seek(-400, 2)
        file.write(b"torn")
    assert content(chain[0]) == expected
    with chain[0].open("r+b") as file:
        file.seek(300)
        file.write(b"torn")
    with pytest.raises(SourceCorrupt) as caught:
        content(chain[0])
    assert caught.value.code == "vhd-footer"


def test_a_wrong_checksum_of_the_header_is_an_error(chain: list[Path]) -> None:
    """The header is used only when its sum is right."""
    with chain[2].open("r+b") as file:
        file.seek(vhd_files.HEADER_AT + 32)
        file.write(b"\0\1")
    with pytest.raises(SourceCorrupt) as caught:
        content(chain[2])
    assert caught.value.code == "vhd-header"


def test_another_parent_is_refused(chain: list[Path]) -> None:
    """The parent is known by its unique id, whatever its name is."""
    chain[2].unlink()
    vhd_files.create(chain[2], SIZE)
    with pytest.raises(SourceConflict) as caught:
        content(chain[0])
    assert caught.value.code == "vdisk-parent-changed"


def test_a_locator_is_handed_on_as_it_stands(tmp_path: Path) -> None:
    """Paths of a child reach `locate` unchanged, which decides; no path is opened otherwise."""
    base, child = tmp_path / "base.vhd", tmp_path / "child.vhd"
    vhd_files.create(base, SIZE)
    vhd_files.create_child(child, base, relative="..\\..\\secret.vhd")
    seen: list[ParentLocator] = []

    def refuse(path: str, locator: ParentLocator) -> str | None:
        seen.append(locator)
        return None

    with pytest.raises(AdapterError) as caught:
        open_disk(str(child), LocalFile, refuse)
    assert caught.value.code == "vdisk-parent-missing"
    with vhd_files.VhdFile(base) as file:
        assert seen == [ParentLocator((str(file.identity),), "..\\..\\secret.vhd")]


@pytest.mark.parametrize(("entry", "why"), [(0, "out of the file"), (1 << 31, "out of the file"), (-1, "same place")])
def test_tables_that_lead_elsewhere_are_refused(tmp_path: Path, entry: int, why: str) -> None:
    """An entry outside of the file, and two at one place, are errors before any byte is read."""
    path = tmp_path / "disk.vhd"
    vhd_files.create(path, SIZE)
    vhd_files.write(path, 0, b"\xaa" * 512)
    with path.open("r+b") as file:
        file.seek(vhd_files.TABLE_AT)
        first = file.read(4)
        file.write(first if entry < 0 else struct.pack(">I", entry))
    with pytest.raises(SourceCorrupt, match=why):
        content(path)


def test_an_unknown_kind_is_refused(tmp_path: Path) -> None:
    """A disk type that is none of the three is not guessed at."""
    path = tmp_path / "disk.vhd"
    vhd_files.create(path, SIZE)
    data = bytearray(path.read_bytes())
    for at in (0, len(data) - 512):
        footer = bytearray(data[at : at + 512])
        footer[60:64] = struct.pack(">I", 5)
        data[at : at + 512] = vhd_files.with_sum(bytes(footer), 64)
    path.write_bytes(data)
    with pytest.raises(SourceInvalid) as caught:
        content(path)
    assert caught.value.code == "vhd-version"


@settings(max_examples=15, deadline=None)
@given(
    files=st.lists(
        st.lists(st.tuples(st.integers(0, SIZE // 512 - 1), st.integers(1, 30), st.integers(1, 255)), max_size=6),
        min_size=1,
        max_size=3,
    ),
    offset=st.integers(0, SIZE),
)
def test_any_history_reads_as_it_was_written(files: list[list[tuple[int, int, int]]], offset: int) -> None:
    """Whatever was written over any chain, every read gives its bytes."""
    data = bytearray(SIZE)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "0.vhd"
        vhd_files.create(path, SIZE)
        for number, writes in enumerate(files):
            if number:
                child = Path(folder) / f"{number}.vhd"
                vhd_files.create_child(child, path)
                path = child
            for sector, count, value in writes:
                piece = bytes([value]) * min(count * 512, SIZE - sector * 512)
                data[sector * 512 : sector * 512 + len(piece)] = piece
                vhd_files.write(path, sector * 512, piece)
        assert content(path) == data
        with opened(path) as disk:
            assert read(disk, offset, SIZE - offset) == data[offset:]

"""Logs that were not replayed: what they say counts, and the file is never written."""

from __future__ import annotations

import random
import shutil
from functools import partial
from pathlib import Path

import pytest

from adapters.errors import SourceCorrupt, SourceLimit
from tests.support import vhdx_files, vhdx_layout
from tests.support.nbd_peers import need
from tests.support.vhdx_log import PAGE, Entry, add_log, logged, pack_entry
from tests.support.virtual_disks import by_libvhdi, by_qemu, content, opened, qemu_check

MIB = 1 << 20
SIZE = 16 * MIB
SOME = random.Random(5)
# Each in blocks of its own, which nothing was in before.
CHANGES = [
    (2 * MIB, SOME.randbytes(8192)),
    (5 * MIB, SOME.randbytes(3 * MIB)),
    (9 * MIB, SOME.randbytes(512)),
    (15 * MIB, SOME.randbytes(MIB)),
]


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """A disk with some data and an empty log."""
    path = tmp_path / "disk.vhdx"
    vhdx_files.create(path, SIZE)
    vhdx_files.write(path, 64 << 10, SOME.randbytes(256 << 10))
    return path


def writes(changes: list[tuple[int, bytes]] = CHANGES) -> list[partial[None]]:
    """The changes as what is to be done to a file."""
    return [partial(vhdx_files.write, offset=offset, data=data) for offset, data in changes]


def after(path: Path, changes: list[tuple[int, bytes]] = CHANGES) -> bytes:
    """What the guest sees once the changes are made."""
    whole = bytearray(vhdx_files.content(path))
    for offset, data in changes:
        whole[offset : offset + len(data)] = data
    return bytes(whole)


def test_a_log_is_replayed_in_memory(disk: Path) -> None:
    """Several entries of an unclosed file are applied, though libvhdi shows stale data, and no byte is written."""
    expected = after(disk)
    stale = vhdx_files.content(disk)
    logged(disk, *writes())
    before = disk.read_bytes()
    assert content(disk) == expected
    assert by_libvhdi(disk) != expected
    assert vhdx_files.content(disk) == stale
    assert disk.read_bytes() == before


@pytest.mark.parametrize("start", [0, vhdx_layout.LOG_BYTES - PAGE, vhdx_layout.LOG_BYTES - 3 * PAGE])
def test_qemu_replays_to_the_same(disk: Path, start: int, tmp_path: Path) -> None:
    """qemu's repair of a copy gives the disk that we show of the file as it stands, wherever in the ring it begins."""
    need("qemu-img")
    expected = after(disk)
    logged(disk, *writes(), start=start)
    assert content(disk) == expected
    repaired = tmp_path / "repaired.vhdx"
    shutil.copyfile(disk, repaired)
    qemu_check(repaired, "vhdx", "-r", "all")
    assert by_qemu(repaired, "vhdx") == expected
    assert content(repaired) == expected


@pytest.mark.parametrize("kept", [1, 2, 3])
def test_a_torn_entry_never_happened(disk: Path, kept: int) -> None:
    """Entries before one that was not written whole count; it and what follows do not."""
    expected = after(disk, CHANGES[:kept])
    offsets = logged(disk, *writes())
    with disk.open("r+b") as file:
        file.seek(vhdx_layout.LOG_OFFSET + offsets[kept] + PAGE + 2000)
        file.write(b"torn")
    assert content(disk) == expected


def test_a_log_without_a_whole_entry_is_an_error(disk: Path) -> None:
    """The header says that there is something to replay: without it the tables may not be used."""
    (offset,) = logged(disk, *writes(CHANGES[:1]))
    with disk.open("r+b") as file:
        file.seek(vhdx_layout.LOG_OFFSET + offset + 100)
        file.write(b"torn")
    with pytest.raises(SourceCorrupt) as caught:
        content(disk)
    assert caught.value.code == "vhdx-log"


def test_entries_of_an_earlier_log_do_not_count(disk: Path) -> None:
    """What an older use of the log left in the ring has another identity, and is not applied."""
    expected = after(disk, CHANGES[:1])
    logged(disk, *writes(CHANGES[2:]), start=40 * PAGE, first_sequence=100)
    logged(disk, *writes(CHANGES[:1]), first_sequence=7)
    assert content(disk) == expected


def test_replay_begins_at_the_tail(disk: Path) -> None:
    """Entries in front of the tail that the last one names are done with, and are not applied again."""
    with vhdx_files.VhdxFile(disk) as file:
        bat = file.bat_offset
        now = file.get(bat, PAGE)
    expected = vhdx_files.content(disk)
    add_log(disk, [Entry([(bat, PAGE)]), Entry([(bat, now)], tail=0)])
    assert content(disk) == expected
    add_log(disk, [Entry([(bat, PAGE)]), Entry([], tail=0)])
    assert content(disk) == expected
    add_log(disk, [Entry([(bat, PAGE)]), Entry([])])
    assert content(disk) == bytes(SIZE)


def test_the_newest_of_two_sequences_counts(disk: Path) -> None:
    """Two complete sequences of one log may be in the ring: the one with the higher numbers is in force."""
    with vhdx_files.VhdxFile(disk) as file:
        bat, now = file.bat_offset, file.get(file.bat_offset, PAGE)
    add_log(disk, [Entry([(bat, PAGE)])], start=10 * PAGE, first_sequence=50)
    with vhdx_files.VhdxFile(disk) as file:
        guid = file.header.log
    size = disk.stat().st_size
    with vhdx_files.VhdxFile(disk, writing=True) as file:
        file.put(vhdx_layout.LOG_OFFSET, pack_entry([(bat, now)], guid, 60, 0, size))
        file.put_header(log=guid)
    assert any(content(disk))
    with vhdx_files.VhdxFile(disk, writing=True) as file:
        file.put(vhdx_layout.LOG_OFFSET, pack_entry([(bat, now)], guid, 40, 0, size))
        file.put_header(log=guid)
    assert not any(content(disk))


def test_a_file_shorter_than_it_was_is_an_error(disk: Path) -> None:
    """The log says how long the file was on disk: one that was cut since lost data."""
    add_log(disk, [Entry([])], flushed=disk.stat().st_size + MIB)
    with pytest.raises(SourceCorrupt, match="cut to"):
        content(disk)


def test_a_file_that_the_log_lets_grow(disk: Path) -> None:
    """A block that was allocated, with the file's growth not yet on disk, is there and holds zeros."""
    with vhdx_files.VhdxFile(disk) as file:
        bat = file.bat_offset
        page = bytearray(file.get(bat, PAGE))
    size = disk.stat().st_size
    page[8 * 3 : 8 * 4] = (size | vhdx_layout.FULL).to_bytes(8, "little")
    add_log(disk, [Entry([(bat, bytes(page))])], file_bytes=size + 2 * MIB, flushed=size)
    expected = vhdx_files.content(disk)
    assert content(disk) == expected
    with opened(disk) as found:
        assert any(not extent.zero and extent.start <= 6 * MIB < extent.end for extent in found.extents())


def test_writes_behind_the_end_are_an_error(disk: Path) -> None:
    """A log cannot make the file larger than it says itself."""
    add_log(disk, [Entry([(1 << 40, PAGE)])])
    with pytest.raises(SourceCorrupt, match="behind the file's end"):
        content(disk)


def test_region_tables_are_read_through_the_log(disk: Path) -> None:
    """A resize that moved the block allocation table, and stands in the log only, is followed."""
    whole = vhdx_files.content(disk)
    with vhdx_files.VhdxFile(disk, writing=True) as file:
        old, length = file.bat_offset, file.bat_bytes
        moved = file.grow(length)
        file.put(moved, file.get(old, length))
        table = vhdx_layout.region_table(moved, length)
        file.put(old, bytes(length))
    pages = [table[at : at + PAGE] for at in range(0, len(table), PAGE)]
    places = [(base + number * PAGE, page) for base in vhdx_layout.REGION_OFFSETS for number, page in enumerate(pages)]
    add_log(disk, [Entry(places)])
    assert content(disk) == whole


def test_a_huge_log_is_refused(disk: Path) -> None:
    """A log is read into memory, and so is one of a size that makes sense."""
    with vhdx_files.VhdxFile(disk, writing=True) as file:
        file.grow(65 * MIB)
        header = file.header
        page = vhdx_layout.Header(
            header.sequence + 1, header.file_write, header.data_write, header.file_write, 65 * MIB, MIB
        )
        file.put(vhdx_layout.HEADER_OFFSETS[page.sequence % 2], page.pack())
    with pytest.raises(SourceLimit):
        content(disk)

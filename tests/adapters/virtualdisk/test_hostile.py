"""Damaged and hostile files: an AdapterError or the right bytes, in little time and memory; never anything else."""

from __future__ import annotations

import random
import struct
import tempfile
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.errors import AdapterError, SourceCorrupt, SourceLimit
from adapters.virtualdisk.chain import VirtualDisk, open_disk
from adapters.virtualdisk.file import LocalFile
from tests.support import vhd_files, vhdx_files, vhdx_layout
from tests.support.vhdx_log import PAGE, Entry, add_log, logged, pack_entry
from tests.support.virtual_disks import beside, content, opened, read

KIB, MIB = 1 << 10, 1 << 20
SIZE = 6 * MIB

Damage = tuple[int, int, bytes]
"""Which area, where in it, and the bytes to put there."""


def vhdx_chain(folder: Path) -> list[tuple[Path, list[tuple[int, int]]]]:
    """A child with a log on a base; of each the areas that hold its tables."""
    some = random.Random(3)
    base, child = folder / "base.vhdx", folder / "child.avhdx"
    vhdx_files.create(base, SIZE, block_bytes=MIB)
    vhdx_files.write(base, MIB, some.randbytes(2 * MIB))
    vhdx_files.create_child(child, base)
    vhdx_files.write(child, MIB + 512, some.randbytes(5 * 512))
    offsets = logged(
        child,
        partial(vhdx_files.write, offset=3 * MIB + 1024, data=some.randbytes(4096)),
        partial(vhdx_files.write, offset=5 * MIB, data=some.randbytes(MIB)),
    )
    with vhdx_files.VhdxFile(child) as file:
        bat = file.bat_offset
    tables = [(0, 512), (64 * KIB, 100), (128 * KIB, 100), (192 * KIB, 100), (256 * KIB, 100)]
    tables += [(2 * MIB, 256), (2 * MIB + 64 * KIB, 512), (bat, 128)]
    return [
        (child, [*tables, *[(MIB + offset, 256) for offset in offsets], (MIB + PAGE, PAGE), (0, child.stat().st_size)]),
        (base, [*tables, (0, base.stat().st_size)]),
    ]


def vhd_chain(folder: Path) -> list[tuple[Path, list[tuple[int, int]]]]:
    """A differencing disk on a dynamic one."""
    some = random.Random(3)
    base, child = folder / "base.vhd", folder / "child.vhd"
    vhd_files.create(base, SIZE)
    vhd_files.write(base, MIB, some.randbytes(2 * MIB))
    vhd_files.create_child(child, base)
    vhd_files.write(child, MIB + 512, some.randbytes(5 * 512))
    tables = [(0, 100), (512, 700), (1536, 1024), (vhd_files.TABLE_AT, 16)]
    return [(path, [*tables, (path.stat().st_size - 512, 100), (0, path.stat().st_size)]) for path in (child, base)]


def survives(path: Path) -> bytes | None:
    """Read a disk in every way; its content, or None where that was refused."""
    try:
        disk = open_disk(str(path), LocalFile, beside)
    except AdapterError:
        return None
    try:
        if disk.size_bytes > 64 * MIB:
            walk(disk)
            return None
        whole = read(disk, 0, disk.size_bytes)
        for extent in disk.extents():
            assert not extent.zero or not any(whole[extent.start : extent.end])
        return whole
    except AdapterError:
        return None
    finally:
        disk.close()


def walk(disk: VirtualDisk) -> None:
    """Go through some of a disk whose size was made up."""
    for _, _ in zip(disk.extents(), range(1000), strict=False):
        pass
    read(disk, disk.size_bytes - MIB, MIB)


@pytest.mark.parametrize("make", [vhdx_chain, vhd_chain])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    damages=st.lists(
        st.tuples(st.integers(0, 40), st.integers(0, 1 << 30), st.binary(min_size=1, max_size=12)),
        min_size=1,
        max_size=4,
    ),
    which=st.integers(0, 1),
    checksums=st.booleans(),
)
def test_damage_is_an_error_or_harmless(
    make: Callable[[Path], list[tuple[Path, list[tuple[int, int]]]]],
    damages: list[Damage],
    which: int,
    checksums: bool,
) -> None:
    """Bytes changed anywhere, with checksums made right again or not, end in an AdapterError or in some disk."""
    with tempfile.TemporaryDirectory() as folder:
        chain = make(Path(folder))
        path, areas = chain[which]
        with path.open("r+b") as file:
            for area, offset, data in damages:
                start, length = areas[area % len(areas)]
                file.seek(start + offset % length)
                file.write(data)
        if checksums:
            repair_checksums(path)
        survives(chain[0][0])


def repair_checksums(path: Path) -> None:
    """What a hostile author does: right sums over wrong content."""
    data = bytearray(path.read_bytes())
    if path.suffix in {".vhdx", ".avhdx"}:
        ranges = [(at, 4 * KIB) for at in vhdx_layout.HEADER_OFFSETS]
        ranges += [(at, 64 * KIB) for at in vhdx_layout.REGION_OFFSETS]
        for page in range(MIB, 2 * MIB, PAGE):
            length = int.from_bytes(data[page + 8 : page + 12], "little")
            if data[page : page + 4] == b"loge" and PAGE <= length <= 2 * MIB - page:
                ranges.append((page, length))
        for at, length in ranges:
            data[at : at + length] = vhdx_layout.with_checksum(bytes(data[at : at + length]))
    else:
        for at in (0, len(data) - 512):
            data[at : at + 512] = vhd_files.with_sum(bytes(data[at : at + 512]), 64)
        data[512:1536] = vhd_files.with_sum(bytes(data[512:1536]), 36)
    path.write_bytes(data)


@pytest.mark.parametrize("make", [vhdx_chain, vhd_chain])
def test_a_file_cut_anywhere_is_an_error(
    make: Callable[[Path], list[tuple[Path, list[tuple[int, int]]]]], tmp_path: Path
) -> None:
    """A child or base that was not copied whole is refused, and never read as zeros where data was."""
    chain = make(tmp_path)
    whole = content(chain[0][0])
    for path, _ in chain:
        data = path.read_bytes()
        for cut in sorted({0, 1, 511, 512, 70_000, 200_000, *range(MIB, len(data), MIB // 2), len(data) - 1}):
            path.write_bytes(data[:cut])
            assert survives(chain[0][0]) in (None, whole), cut
        path.write_bytes(data)


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        (lambda good: good | 8, "reserved"),
        (lambda good: (good & ~7) | 4, "state"),
        (lambda good: (good & ~7) | 7, "state"),
        (lambda good: 6, "out of the file"),
        (lambda good: (1 << 50) | 6, "out of the file"),
        (lambda good: (2**64 - MIB) | 6, "out of the file"),
        (lambda good: (MIB) | 6, "own tables"),
        (lambda good: (3 * MIB) | 6, "own tables"),
        (lambda good: good, "same place"),
    ],
)
def test_tables_that_lead_elsewhere_are_refused(tmp_path: Path, entry: Callable[[int], int], why: str) -> None:
    """Entries with impossible states, outside of the file, on its tables or on each other are errors, not data."""
    path = tmp_path / "disk.vhdx"
    vhdx_files.create(path, SIZE, block_bytes=MIB)
    vhdx_files.write(path, 0, b"\xaa" * 2 * MIB)
    with vhdx_files.VhdxFile(path, writing=True) as file:
        good = struct.unpack("<Q", file.get(file.bat_offset, 8))[0]
        file.put(file.bat_offset + 8, struct.pack("<Q", entry(good)))
    with pytest.raises(SourceCorrupt, match=why) as caught:
        content(path)
    assert caught.value.code == "vhdx-bat"


@pytest.mark.parametrize("entry", [0, 5, (1 << 50) | 6, 6])
def test_a_partial_block_without_a_bitmap_is_an_error(tmp_path: Path, entry: int) -> None:
    """Without the bitmap nobody knows whose the sectors are."""
    base, child = tmp_path / "base.vhdx", tmp_path / "child.avhdx"
    vhdx_files.create(base, SIZE)
    vhdx_files.create_child(child, base)
    vhdx_files.write(child, 512, b"\xaa" * 512)
    with vhdx_files.VhdxFile(child, writing=True) as file:
        file.put(file.bat_offset + 8 * file.bitmap_index(0), struct.pack("<Q", entry))
    with pytest.raises(SourceCorrupt) as caught:
        content(child)
    assert caught.value.code == "vhdx-bat"


def test_a_log_of_entries_in_each_other_ends(tmp_path: Path) -> None:
    """A log in which every page claims to begin an entry as long as the log is given up soon."""
    path = tmp_path / "disk.vhdx"
    vhdx_files.create(path, SIZE)
    guid = uuid4()
    with vhdx_files.VhdxFile(path, writing=True) as file:
        for page in range(0, vhdx_layout.LOG_BYTES, PAGE):
            head = struct.pack(
                "<4sIIIQII16sQQ", b"loge", 0, vhdx_layout.LOG_BYTES, 0, 1, 1, 0, guid.bytes_le, 0, 1 << 40
            )
            file.put(vhdx_layout.LOG_OFFSET + page, head)
        file.put_header(log=guid)
    with pytest.raises(SourceCorrupt):
        content(path)


def test_a_log_of_too_many_writes_is_refused(tmp_path: Path) -> None:
    """Descriptors are counted before any is applied."""
    path = tmp_path / "disk.vhdx"
    vhdx_files.create(path, SIZE)
    size = path.stat().st_size
    many = [Entry([(size - PAGE, PAGE)] * 30_000)]
    add_log(path, many)
    assert content(path) == bytes(SIZE)
    # A log that is 5 MiB long has room for more.
    with vhdx_files.VhdxFile(path, writing=True) as file:
        place, guid = file.grow(5 * MIB), uuid4()
        file.put(place, pack_entry([(0, PAGE)] * 140_000, guid, 1, 0, size))
        now = file.header
        header = vhdx_layout.Header(now.sequence + 1, now.file_write, now.data_write, guid, 5 * MIB, place)
        file.put(vhdx_layout.HEADER_OFFSETS[header.sequence % 2], header.pack())
    with pytest.raises(SourceLimit):
        content(path)


def test_a_large_table_takes_little_memory(tmp_path: Path) -> None:
    """16 TiB in blocks of 1 MiB, a table of 128 MiB a file: extents and reads take some tens of MiB at most."""
    base, child = tmp_path / "base.vhdx", tmp_path / "child.avhdx"
    size, sector = 16 << 40, 4096
    vhdx_files.create(base, size, block_bytes=MIB, sector_bytes=sector)
    vhdx_files.create_child(child, base)
    places = [0, size // 2 - sector, size - sector]
    for place in places:
        vhdx_files.write(child, place, b"\xaa" * sector)
    with opened(child) as disk:
        tracemalloc.start()
        try:
            assert read(disk, size - sector, sector) == b"\xaa" * sector
            extents = disk.extents()
            assert [next(extents).zero, next(extents).zero] == [False, True]
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak < 64 * MIB


def test_a_bitmap_of_every_other_sector_takes_little_memory(tmp_path: Path) -> None:
    """The worst bitmaps that there are are walked in bounded memory and read right."""
    base, child = tmp_path / "base.vhdx", tmp_path / "child.avhdx"
    size = 128 * MIB
    vhdx_files.create(base, size, block_bytes=64 * MIB)
    vhdx_files.create_child(child, base)
    with vhdx_files.VhdxFile(child, writing=True) as file:
        for block in range(2):
            place = file.grow(64 * MIB)
            file.put(place, b"\xaa" * 4096)
            file.set_entry(file.payload_index(block), vhdx_layout.PARTIAL, place)
            file.set_bitmap(block, int("01" * (64 * MIB // 1024), 2))
    with opened(child) as disk:
        tracemalloc.start()
        try:
            count = sum(1 for _ in disk.extents())
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert read(disk, 64 * MIB, 4096) == (b"\xaa" * 512 + bytes(512)) * 4
    assert count == size // 512
    assert peak < 64 * MIB

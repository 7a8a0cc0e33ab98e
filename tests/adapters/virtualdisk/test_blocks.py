"""Every byte of a disk comes from the right place: block states, partial blocks, sector sizes, any read."""

from __future__ import annotations

import random
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.virtualdisk.chain import open_disk
from adapters.virtualdisk.file import LocalFile
from tests.support import vhdx_files
from tests.support.vhdx_layout import FULL, NOT_PRESENT, PARTIAL, UNDEFINED, UNMAPPED, ZERO
from tests.support.virtual_disks import beside, by_libvhdi, content, opened, read

MIB = 1 << 20
BLOCK = MIB
SIZE = 5 * MIB + 4096


@pytest.mark.parametrize("sector", [512, 4096])
@pytest.mark.parametrize("first", [0, 1, 6, 7, 8, 9, 100, 254, 255])
@pytest.mark.parametrize("count", [1, 2, 8, 17])
def test_a_partial_block_begins_at_any_bit(tmp_path: Path, sector: int, first: int, count: int) -> None:
    """The bitmap's bits count from the lowest, and sectors around those that are set are the parent's."""
    base, child = tmp_path / "base.vhdx", tmp_path / "child.avhdx"
    count = min(count, 256 - first) if sector == 4096 else count
    vhdx_files.create(base, SIZE, block_bytes=BLOCK, sector_bytes=sector)
    vhdx_files.write(base, BLOCK, b"\xaa" * BLOCK)
    vhdx_files.create_child(child, base)
    start = BLOCK + first * sector
    vhdx_files.write(child, start, b"\xbb" * count * sector)
    expected = bytearray(SIZE)
    expected[BLOCK : 2 * BLOCK] = b"\xaa" * BLOCK
    expected[start : start + count * sector] = b"\xbb" * count * sector
    with vhdx_files.VhdxFile(child) as file:
        assert file.entry(file.payload_index(1))[0] == PARTIAL
    assert content(child) == expected == vhdx_files.content(child)
    with opened(child) as disk:
        for offset, length in ((start - 1, 2), (start + 3, sector), (start + count * sector - 1, 3)):
            assert read(disk, offset, length) == expected[offset : offset + length]


@pytest.mark.parametrize("state", [UNDEFINED, ZERO, UNMAPPED])
@pytest.mark.parametrize("child", [True, False])
def test_blocks_that_read_as_zeros(tmp_path: Path, state: int, child: bool) -> None:
    """Undefined, zero and unmapped blocks are zeros and hide the parent's; an offset they still have does not count."""
    base, top = tmp_path / "base.vhdx", tmp_path / "child.avhdx"
    vhdx_files.create(base, SIZE, block_bytes=BLOCK)
    vhdx_files.write(base, 0, b"\xaa" * 4 * BLOCK)
    if child:
        vhdx_files.create_child(top, base)
    else:
        top = base
    vhdx_files.unmap(top, 1, state)
    with vhdx_files.VhdxFile(top, writing=True) as file:
        file.set_entry(file.payload_index(2), state, 3 * MIB)
    assert content(top) == b"\xaa" * BLOCK + bytes(2 * BLOCK) + b"\xaa" * BLOCK + bytes(SIZE - 4 * BLOCK)
    with opened(top) as disk:
        assert [(extent.start, extent.zero) for extent in disk.extents()] == [
            (0, False),
            (BLOCK, True),
            (3 * BLOCK, False),
            (4 * BLOCK, True),
        ]


def test_a_block_that_is_not_there_is_the_parents_or_zero(tmp_path: Path) -> None:
    """State 0 means the parent's data in a child, and zeros without one."""
    base, child = tmp_path / "base.vhdx", tmp_path / "child.avhdx"
    vhdx_files.create(base, SIZE, block_bytes=BLOCK)
    vhdx_files.write(base, 0, b"\xaa" * BLOCK)
    vhdx_files.create_child(child, base)
    vhdx_files.write(child, 2 * BLOCK, b"\xbb" * BLOCK)
    with vhdx_files.VhdxFile(child) as file:
        states = [file.entry(file.payload_index(block))[0] for block in range(3)]
    assert states == [NOT_PRESENT, NOT_PRESENT, FULL]
    assert content(child) == b"\xaa" * BLOCK + bytes(BLOCK) + b"\xbb" * BLOCK + bytes(SIZE - 3 * BLOCK)


@pytest.mark.parametrize("sector", [512, 4096])
def test_bitmaps_of_later_chunks(tmp_path: Path, sector: int) -> None:
    """Blocks behind the first 2^23 sectors have their own bitmap; entries of the table are counted past it."""
    base, child = tmp_path / "base.vhdx", tmp_path / "child.avhdx"
    chunk = (1 << 23) * sector
    block = 64 * MIB
    size = 2 * chunk + 3 * block
    vhdx_files.create(base, size, block_bytes=block, sector_bytes=sector)
    vhdx_files.create_child(child, base)
    places = [0, chunk - block, chunk - sector, chunk, chunk + 5 * sector, 2 * chunk + block + 9 * sector]
    for number, place in enumerate(places):
        vhdx_files.write(
            base if number % 2 else child, place, bytes([number + 1]) * sector
        ) if number % 2 == 0 else None
    with opened(child) as disk:
        for number, place in enumerate(places[::2]):
            around = read(disk, max(place - 10, 0), sector + 20 if place else sector)
            assert around.strip(b"\0") == bytes([2 * number + 1]) * sector
        data = [(extent.start, extent.length) for extent in disk.extents() if not extent.zero]
    assert data == [(place, sector) for place in places[::2]]


Operation = tuple[str, int, int, int]


@st.composite
def histories(draw: st.DrawFn) -> tuple[int, int, list[list[Operation]]]:
    """A sector size, a block size, and for each file of a chain what was done to it."""
    sector = draw(st.sampled_from([512, 4096]))
    block = draw(st.sampled_from([MIB, 2 * MIB]))
    sectors = SIZE // sector
    write = st.tuples(st.just("write"), st.integers(0, sectors - 1), st.integers(1, 700), st.integers(1, 255))
    unmap = st.tuples(st.just("unmap"), st.integers(0, SIZE // block), st.sampled_from([1, 2, 3]), st.just(0))
    resize = st.tuples(st.just("grow"), st.integers(1, 3), st.just(0), st.just(0))
    files = draw(st.lists(st.lists(st.one_of(write, write, unmap, resize), max_size=5), min_size=1, max_size=4))
    return sector, block, files


class Model:
    """The disk as bytes."""

    def __init__(self, size: int) -> None:
        self.data = bytearray(size)

    def act(self, path: Path, operation: Operation, sector: int, block: int) -> None:
        """Do something to the file and to the bytes alike."""
        kind, at, count, value = operation
        if kind == "write":
            start = at * sector
            data = bytes([value]) * (min(count * sector, len(self.data) - start))
            self.data[start : start + len(data)] = data
            vhdx_files.write(path, start, data)
        elif kind == "unmap":
            start = at * block
            end = min(start + block, len(self.data))
            self.data[start:end] = bytes(end - start)
            vhdx_files.unmap(path, at, count)
        else:
            self.data += bytes(at * MIB)
            vhdx_files.resize(path, len(self.data))


@settings(max_examples=25, deadline=None)
@given(history=histories(), seed=st.integers(0, 1 << 30))
def test_any_history_reads_as_it_was_written(history: tuple[int, int, list[list[Operation]]], seed: int) -> None:
    """Whatever a guest wrote, trimmed and grew over any chain, every read gives its bytes, and zeros are zeros."""
    sector, block, files = history
    model = Model(SIZE)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "0.vhdx"
        vhdx_files.create(path, SIZE, block_bytes=block, sector_bytes=sector)
        for number, operations in enumerate(files):
            if number:
                child = Path(folder) / f"{number}.avhdx"
                vhdx_files.create_child(child, path)
                path = child
            for operation in operations:
                model.act(path, operation, sector, block)
        assert content(path) == model.data
        some = random.Random(seed)
        with opened(path) as disk:
            for _ in range(20):
                offset = some.randrange(len(model.data))
                length = some.randrange(min(3 * MIB, len(model.data) - offset) + 1)
                assert read(disk, offset, length) == model.data[offset : offset + length]


def test_libvhdi_agrees_about_a_strewn_chain(tmp_path: Path) -> None:
    """An independent reader shows the same disk of three files with hundreds of changes."""
    some = random.Random(11)
    paths = [tmp_path / f"{number}.vhdx" for number in range(3)]
    size = 12 * MIB
    vhdx_files.create(paths[0], size)
    for number, path in enumerate(paths):
        if number:
            vhdx_files.create_child(path, paths[number - 1])
        for _ in range(60):
            offset = some.randrange(size // 512 - 200) * 512
            vhdx_files.write(path, offset, some.randbytes(512 * some.randrange(1, 200)))
    assert content(paths[2]) == by_libvhdi(*paths[::-1]) == vhdx_files.content(paths[2])


@pytest.mark.parametrize("gap", [0, 512, 64 << 10, 1 << 30])
def test_gaps_that_are_read_in_vain_change_nothing(tmp_path: Path, gap: int) -> None:
    """However much is read between the pieces that count, the pieces are the same."""
    base, child = tmp_path / "base.vhdx", tmp_path / "child.avhdx"
    some = random.Random(13)
    vhdx_files.create(base, SIZE, block_bytes=BLOCK)
    vhdx_files.write(base, 0, some.randbytes(4 * BLOCK))
    vhdx_files.create_child(child, base)
    for _ in range(40):
        vhdx_files.write(child, some.randrange(SIZE // 512 - 8) * 512, some.randbytes(512 * some.randrange(1, 8)))
    disk = open_disk(str(child), LocalFile, beside, gap_bytes=gap)
    try:
        assert read(disk, 0, SIZE) == vhdx_files.content(child)
    finally:
        disk.close()


class Counting(LocalFile):
    """Notes the reads of payload."""

    requests: list[tuple[int, int]]

    def pread_into(self, offset: int, buffer: memoryview) -> None:
        self.requests.append((offset, len(buffer)))
        super().pread_into(offset, buffer)


def test_contiguous_blocks_are_read_at_once(tmp_path: Path) -> None:
    """Blocks that follow each other in the file are one request, and strewn sectors are few."""
    base, child = tmp_path / "base.vhdx", tmp_path / "child.avhdx"
    vhdx_files.create(base, SIZE, block_bytes=BLOCK)
    vhdx_files.write(base, 0, b"\xaa" * 4 * BLOCK)
    vhdx_files.create_child(child, base)
    for sector in range(0, 2048, 16):
        vhdx_files.write(child, sector * 512, b"\xbb" * 512)
    requests: list[tuple[int, int]] = []
    Counting.requests = requests
    for path, most in ((base, 1), (child, 2)):
        disk = open_disk(str(path), Counting, beside)
        try:
            read(disk, 0, 512)
            requests.clear()
            read(disk, 0, 4 * BLOCK)
            assert len(requests) <= most
            assert sum(length for _, length in requests) <= 4 * BLOCK + BLOCK
        finally:
            disk.close()


def test_threads_read_at_once(tmp_path: Path) -> None:
    """Several threads get their own bytes from one disk."""
    base, child = tmp_path / "base.vhdx", tmp_path / "child.avhdx"
    some = random.Random(17)
    vhdx_files.create(base, 40 * MIB)
    vhdx_files.write(base, 0, some.randbytes(30 * MIB))
    vhdx_files.create_child(child, base)
    for _ in range(30):
        vhdx_files.write(child, some.randrange(40 * 2048 - 64) * 512, some.randbytes(512 * 64))
    expected = vhdx_files.content(child)

    def look(seed: int) -> bool:
        own = random.Random(seed)
        offsets = [own.randrange(39 * MIB) for _ in range(60)]
        return all(read(disk, offset, 100_000) == expected[offset : offset + 100_000] for offset in offsets)

    with opened(child) as disk, ThreadPoolExecutor(4) as threads:
        assert all(threads.map(look, range(8)))

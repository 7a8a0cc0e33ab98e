"""Reading VHDX files from the page cache: a base and a chain of three, beside libvhdi in the same run.

The disk has 2 GiB, half of them data in the base. Each checkpoint changed some blocks whole, and some of those with
data in part, as a guest strews its writes. (None was trimmed: libvhdi shows the parent's data there.) Both readers are
asked for pieces of 2 MiB, ours into a buffer as a backup has it, in turns, and the best of several rounds counts. They
are compared by processor time, all of a read from the page cache, which other work on the machine disturbs less. A
backup passes over what the extents call zeros, which libvhdi's Python module cannot tell: so there are two ratios.
"""

from __future__ import annotations

import hashlib
import mmap
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pyvhdi

from adapters.virtualdisk.chain import VirtualDisk, open_disk
from adapters.virtualdisk.file import LocalFile
from adapters.virtualdisk.reading import LOCAL_GAP_BYTES
from tests.bench.figures import Figure, figure
from tests.support import vhdx_files
from tests.support.virtual_disks import beside

KIB, MIB = 1 << 10, 1 << 20
SIZE, BLOCK, UNIT = 2048 * MIB, 16 * MIB, 2 * MIB
ROUNDS = 7


def run() -> list[Figure]:
    """Measure the base alone, then the chain."""
    with tempfile.TemporaryDirectory(prefix="hf-vhdx-") as folder:
        paths = _files(Path(folder))
        return [*_measured("VHDX", paths[2:], ">= 700"), *_measured("chain of three VHDX", paths, ">= 350")]


def _measured(name: str, paths: Sequence[Path], target: str) -> list[Figure]:
    with _ours(paths[0]) as disk, _theirs(paths) as other:
        data = [(extent.start, extent.length) for extent in disk.extents() if not extent.zero]
        buffer = _buffer()
        if _digest(_pieces(disk, [(0, SIZE)], buffer)) != _digest(_their_pieces(other)):
            raise AssertionError("the two readers differ")
        passes: dict[str, Callable[[], Iterator[object]]] = {
            "every byte": lambda: _pieces(disk, [(0, SIZE)], buffer),
            "data": lambda: _pieces(disk, data, buffer),
            "libvhdi": lambda: _their_pieces(other),
        }
        wall, used = dict.fromkeys(passes, float("inf")), dict.fromkeys(passes, float("inf"))
        for _ in range(ROUNDS):
            for key, make in passes.items():
                seconds, processor = _timed(make())
                wall[key], used[key] = min(wall[key], seconds), min(used[key], processor)
    read = sum(length for _, length in data)
    return [
        figure(f"{name}, data read from the page cache", read / wall["data"] / 1e6, "MB/s", target),
        figure(f"{name}, as a backup reads it: libvhdi's time over ours", used["libvhdi"] / used["data"], "", ">= 1"),
        figure(f"{name}, every byte: libvhdi's time over ours", used["libvhdi"] / used["every byte"], ""),
        figure(f"{name}, every byte, by libvhdi", SIZE / wall["libvhdi"] / 1e6, "MB/s"),
    ]


def _files(folder: Path) -> list[Path]:
    """Make the chain, the newest file first."""
    some = random.Random(1)
    data = some.randbytes(BLOCK)
    paths = [folder / "base.vhdx", folder / "one.avhdx", folder / "two.avhdx"]
    vhdx_files.create(paths[0], SIZE, block_bytes=BLOCK)
    for start in range(0, SIZE, 2 * BLOCK):
        vhdx_files.write(paths[0], start, data)
    for number in (1, 2):
        vhdx_files.create_child(paths[number], paths[number - 1])
        for block in range(SIZE // BLOCK):
            fate = some.random()
            if fate < 0.1:
                vhdx_files.write(paths[number], block * BLOCK, data[::-1])
            elif fate < 0.6 and block % 2 == 0:
                for _ in range(40):
                    place = block * BLOCK + some.randrange(BLOCK // (4 * KIB) - 16) * 4 * KIB
                    vhdx_files.write(paths[number], place, data[: 4 * KIB * some.randrange(1, 16)])
    return paths[::-1]


@contextmanager
def _ours(path: Path) -> Iterator[VirtualDisk]:
    disk = open_disk(str(path), LocalFile, beside, gap_bytes=LOCAL_GAP_BYTES)
    try:
        yield disk
    finally:
        disk.close()


@contextmanager
def _theirs(paths: Sequence[Path]) -> Iterator[pyvhdi.file]:
    with ExitStack() as opened:
        files = []
        for path in paths:
            file = pyvhdi.file()
            file.open(str(path))
            opened.callback(file.close)
            files.append(file)
        for number in range(len(files) - 1, 0, -1):
            files[number - 1].set_parent(files[number])
        yield files[0]


def _buffer() -> memoryview:
    mapped = mmap.mmap(-1, UNIT, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    mapped.madvise(mmap.MADV_HUGEPAGE)
    return memoryview(mapped)


def _pieces(disk: VirtualDisk, ranges: Sequence[tuple[int, int]], buffer: memoryview) -> Iterator[memoryview]:
    for start, length in ranges:
        for offset in range(start, start + length, UNIT):
            piece = buffer[: min(UNIT, start + length - offset)]
            disk.pread_into(offset, piece)
            yield piece


def _their_pieces(file: pyvhdi.file) -> Iterator[bytes]:
    for offset in range(0, SIZE, UNIT):
        yield file.read_buffer_at_offset(UNIT, offset)


def _digest(pieces: Iterator[memoryview] | Iterator[bytes]) -> str:
    digest = hashlib.blake2b()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()


def _timed(pieces: Iterator[object]) -> tuple[float, float]:
    """Wall and processor seconds of going through them."""
    began, used = time.perf_counter(), time.process_time()
    for _ in pieces:
        pass
    return time.perf_counter() - began, time.process_time() - used

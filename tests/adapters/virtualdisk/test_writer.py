"""Disks that we write are what qemu, libvhdi and we read, and take no more room than their data."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from adapters.errors import SourceInvalid
from adapters.port import Extent
from adapters.virtualdisk.vhdwriter import VhdStream
from adapters.virtualdisk.writer import write_vhdx
from tests.support.nbd_peers import need
from tests.support.virtual_disks import BytesImage, FileSink, by_libvhdi, by_qemu, content, opened, qemu_check

MIB = 1 << 20


def some_disk(size: int) -> bytes:
    """Data here and there, zeros between."""
    some = random.Random(size)
    data = bytearray(size)
    for _ in range(12):
        start = some.randrange(size)
        piece = some.randbytes(min(some.randrange(1, 300_000), size - start))
        data[start : start + len(piece)] = piece
    return bytes(data)


@pytest.mark.parametrize("size", [512, MIB, 5 * MIB + 512, 70 * MIB])
@pytest.mark.parametrize("block_bytes", [MIB, 32 * MIB])
def test_a_vhdx_is_what_everybody_reads(tmp_path: Path, size: int, block_bytes: int) -> None:
    """qemu finds no fault, and qemu, libvhdi and our reader show the image, with the identity that was asked for."""
    need("qemu-img")
    data, path, identity, told = some_disk(size), tmp_path / "disk.vhdx", uuid4(), []
    write_vhdx(BytesImage(data), FileSink(path), identity=identity, block_bytes=block_bytes, written=told.append)
    assert content(path) == data
    assert by_libvhdi(path) == data
    qemu_check(path, "vhdx")
    assert by_qemu(path, "vhdx") == data
    with opened(path) as disk:
        assert disk.identity == str(identity)
    assert sum(told) == sum(extent.length for extent in BytesImage(data).extents() if not extent.zero)


def test_a_vhdx_of_4k_sectors(tmp_path: Path) -> None:
    """The sector size is kept; a size that is no multiple of it is refused."""
    data, path = some_disk(6 * MIB), tmp_path / "disk.vhdx"
    write_vhdx(BytesImage(data), FileSink(path), sector_bytes=4096)
    assert content(path) == data
    with opened(path) as disk:
        assert disk.logical_sector_bytes == 4096
    with pytest.raises(SourceInvalid) as caught:
        write_vhdx(BytesImage(bytes(512)), FileSink(tmp_path / "other"), sector_bytes=4096)
    assert caught.value.code == "vhdx-size"


class HugeImage:
    """A disk with data at its very ends."""

    def __init__(self, size_bytes: int) -> None:
        self.size_bytes = size_bytes

    def extents(self) -> Iterator[Extent]:
        end = self.size_bytes
        return iter([Extent(0, 512, False), Extent(512, end - 1024, True), Extent(end - 512, 512, False)])

    def pread_into(self, offset: int, buffer: memoryview) -> None:
        buffer[:] = b"\xaa" * len(buffer)


def test_zeros_take_no_room(tmp_path: Path) -> None:
    """A 64 TiB disk with two sectors of data is a file of two blocks."""
    path = tmp_path / "disk.vhdx"
    write_vhdx(HugeImage(64 << 40), FileSink(path))
    assert path.stat().st_size < 100 * MIB
    assert path.stat().st_blocks * 512 < 20 * MIB
    with opened(path) as disk:
        data = [extent for extent in disk.extents() if not extent.zero]
    assert [extent.start for extent in data] == [0, (64 << 40) - 32 * MIB]


class Torn(FileSink):
    """A sink that fails after some writes."""

    left = 0

    def write_at(self, offset: int, data: memoryview | bytes) -> None:
        if not self.left:
            raise OSError("cut off")
        self.left -= 1
        super().write_at(offset, data)


def test_an_unfinished_file_is_no_disk(tmp_path: Path) -> None:
    """Wherever writing ends, what is there is not taken for a disk."""
    data = some_disk(5 * MIB)
    for writes in range(200):
        path = tmp_path / f"{writes}.vhdx"
        sink = Torn(path)
        sink.left = writes
        try:
            write_vhdx(BytesImage(data), sink)
        except OSError:
            with pytest.raises(SourceInvalid):
                content(path)
            path.unlink()
        else:
            assert content(path) == data
            return
    pytest.fail("it never ended")


@pytest.mark.parametrize("dynamic", [True, False])
@pytest.mark.parametrize("size", [512, 5 * MIB + 512, 70 * MIB])
def test_a_vhd_stream_is_what_everybody_reads(tmp_path: Path, dynamic: bool, size: int) -> None:
    """qemu, libvhdi and our reader show the image, to the byte; the length was known before."""
    need("qemu-img")
    data, identity = some_disk(size), UUID(int=77)
    stream = VhdStream(BytesImage(data), identity, 1_700_000_000, dynamic=dynamic)
    path = tmp_path / "disk.vhd"
    path.write_bytes(b"".join(stream))
    assert path.stat().st_size == stream.length_bytes
    assert path.read_bytes() == b"".join(stream)
    assert content(path) == data
    assert by_libvhdi(path) == data
    assert by_qemu(path, "vpc") == data
    with opened(path) as disk:
        assert disk.identity == str(identity)
    info = subprocess.run(["qemu-img", "info", "-f", "vpc", path], capture_output=True, text=True, check=True)
    assert f"({size} bytes)" in info.stdout


def test_what_does_not_fit_into_a_vhd_is_refused() -> None:
    """A VHD ends at 2,040 GiB."""
    VhdStream(HugeImage(2040 << 30), UUID(int=1), 0, dynamic=True)
    for size in ((2040 << 30) + 512, 1000, 0):
        with pytest.raises(SourceInvalid) as caught:
            VhdStream(HugeImage(size), UUID(int=1), 0, dynamic=True)
        assert caught.value.code == "vhd-size"

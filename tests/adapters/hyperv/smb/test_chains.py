"""Virtual disks over SMB: chains are read from a real Samba as from a folder, new disks are written to it."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters.hyperv.smb.files import SmbFiles
from adapters.port import Extent
from adapters.virtualdisk.chain import VirtualDisk, open_disk
from adapters.virtualdisk.writer import write_vhdx
from tests.support import vhdx_files
from tests.support.samba_server import HOST, Samba

MIB = 1 << 20
SIZE = 24 * MIB
MACHINE = rf"\\{HOST}\C$\VMs\web"


@pytest.fixture
def machine(drive: Path) -> Path:
    """A machine's folder: a base, a checkpoint's disk on it, and another on that, each with data of its own."""
    folder = drive / "VMs" / "web"
    (folder / "snap").mkdir(parents=True)
    base, first, second = folder / "base.vhdx", folder / "snap" / "first.avhdx", folder / "snap" / "second.avhdx"
    vhdx_files.create(base, SIZE)
    vhdx_files.write(base, MIB, os.urandom(7 * MIB))
    vhdx_files.create_child(first, base, relative_path=r"..\base.vhdx", absolute_win32_path=r"C:\VMs\web\base.vhdx")
    vhdx_files.write(first, 3 * MIB + 512, os.urandom(MIB))
    vhdx_files.create_child(second, first)
    vhdx_files.write(second, 20 * MIB - 4096, os.urandom(2 * MIB + 1024))
    return folder


PARENTS = {
    rf"{MACHINE}\snap\second.avhdx": rf"{MACHINE}\snap\first.avhdx",
    rf"{MACHINE}\snap\first.avhdx": rf"{MACHINE}\base.vhdx",
}


def opened(files: SmbFiles, name: str) -> VirtualDisk:
    """Open a disk of the machine; which file is on which is told, as a host tells it."""
    return open_disk(rf"{MACHINE}\{name}", files.open, lambda child, _: PARENTS.get(child))


def content(disk: VirtualDisk) -> bytes:
    """The disk, zero extents unread."""
    whole = bytearray(disk.size_bytes)
    for extent in disk.extents():
        if not extent.zero:
            disk.pread_into(extent.start, memoryview(whole)[extent.start : extent.end])
    return bytes(whole)


def expected(folder: Path) -> bytes:
    """What the guest sees of the second checkpoint's disk, by the naive reader."""
    (folder / "snap" / "base.vhdx").symlink_to(folder / "base.vhdx")  # it looks beside the child
    child = folder / "copy.avhdx"
    shutil.copy(folder / "snap" / "second.avhdx", child)
    shutil.copy(folder / "snap" / "first.avhdx", folder / "first.avhdx")
    vhdx_files.set_parent(folder / "first.avhdx", folder / "base.vhdx")
    return vhdx_files.content(child)


def test_a_chain_is_read_over_smb(files: SmbFiles, machine: Path, samba: Samba) -> None:
    """A chain of three files is the disk that the guest sees, also after every session was dropped."""
    disk = opened(files, r"snap\second.avhdx")
    assert (disk.format, disk.size_bytes, len(disk.files)) == ("vhdx", SIZE, 3)
    whole = content(disk)
    assert whole == expected(machine)
    samba.drop_sessions()
    dice = random.Random(7)
    for _ in range(30):
        start = dice.randrange(SIZE)
        part = memoryview(bytearray(dice.randrange(1, min(SIZE - start, 3 * MIB) + 1)))
        disk.pread_into(start, part)
        assert part == whole[start : start + len(part)]
    disk.close()


class Image:
    """A disk to write: some data, the rest zeros."""

    def __init__(self, data: bytes, start: int) -> None:
        self.size_bytes = SIZE
        self._data = data
        self._start = start

    def extents(self) -> Iterator[Extent]:
        end = self._start + len(self._data)
        yield Extent(0, self._start, zero=True)
        yield Extent(self._start, len(self._data), zero=False)
        yield Extent(end, SIZE - end, zero=True)

    def pread_into(self, offset: int, buffer: memoryview) -> None:
        at = offset - self._start
        buffer[:] = self._data[at : at + len(buffer)]


def test_a_new_disk_is_written_over_smb(files: SmbFiles, drive: Path) -> None:
    """A VHDX that is written to the share is what our reader, and qemu, read back."""
    data = os.urandom(5 * MIB)
    writer = files.create(rf"\\{HOST}\C$\new.vhdx")
    write_vhdx(Image(data, 8 * MIB), writer)
    writer.flush()
    writer.close()
    disk = open_disk(rf"\\{HOST}\C$\new.vhdx", files.open, lambda child_path, locator: None)
    whole = bytes(8 * MIB) + data + bytes(SIZE - 13 * MIB)
    assert content(disk) == whole
    disk.close()
    if shutil.which("qemu-img") is None:
        pytest.skip("needs qemu-img")
    raw = drive / "raw"
    subprocess.run(["qemu-img", "convert", "-O", "raw", drive / "new.vhdx", raw], check=True)
    assert raw.read_bytes() == whole

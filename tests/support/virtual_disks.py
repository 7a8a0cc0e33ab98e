"""Short ways to read virtual disk files: by our reader, by libvhdi, by qemu."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pyvhdi

from adapters.port import Extent
from adapters.virtualdisk.chain import VirtualDisk, open_disk
from adapters.virtualdisk.file import LocalFile
from adapters.virtualdisk.locator import ParentLocator


def beside(child_path: str, locator: ParentLocator) -> str | None:
    """Find the parent by its relative path."""
    if locator.relative_path is None:
        return None
    found = Path(child_path).parent / locator.relative_path.removeprefix(".\\").replace("\\", "/")
    return str(found) if found.exists() else None


@contextmanager
def opened(path: Path) -> Iterator[VirtualDisk]:
    """Open a disk with its parents beside it."""
    with closing(open_disk(str(path), LocalFile, beside)) as disk:
        yield disk


def read(disk: VirtualDisk, offset: int, length: int) -> bytes:
    """Read a range."""
    buffer = bytearray(length)
    disk.pread_into(offset, memoryview(buffer))
    return bytes(buffer)


def content(path: Path) -> bytes:
    """Read a disk whole, as one piece; what its extents call zero must be zeros, and they must cover it."""
    with opened(path) as disk:
        whole = read(disk, 0, disk.size_bytes)
        position, last = 0, None
        for extent in disk.extents():
            assert extent.start == position
            assert extent.length > 0
            assert extent.zero != last
            assert not extent.zero or not any(whole[extent.start : extent.end])
            position, last = extent.end, extent.zero
        assert position == disk.size_bytes
        return whole


def by_libvhdi(*paths: Path) -> bytes:
    """What libvhdi makes of a chain, the child first."""
    with ExitStack() as closing_all:
        files = []
        for path in paths:
            file = pyvhdi.file()
            file.open(str(path))
            closing_all.callback(file.close)
            files.append(file)
        for parent, child in reversed(list(zip(files[1:], files[:-1], strict=True))):
            child.set_parent(parent)
        return bytes(files[0].read_buffer_at_offset(files[0].get_media_size(), 0))


def qemu_check(path: Path, image_format: str, *options: str) -> None:
    """Let qemu look for faults."""
    command = ["qemu-img", "check", "-q", "-f", image_format, *options, path]
    subprocess.run(command, check=True, capture_output=True)


def by_qemu(path: Path, image_format: str) -> bytes:
    """What qemu makes of a file."""
    raw = path.with_name(path.name + ".raw")
    subprocess.run(["qemu-img", "convert", "-f", image_format, "-O", "raw", path, raw], check=True)
    whole = raw.read_bytes()
    raw.unlink()
    return whole


class BytesImage:
    """A DiskImage of bytes in memory; aligned pieces of `grain` without data are zero extents."""

    def __init__(self, data: bytes, grain: int = 64 << 10) -> None:
        self.size_bytes = len(data)
        self._data = data
        self._grain = grain

    def extents(self) -> Iterator[Extent]:
        for start in range(0, self.size_bytes, self._grain):
            piece = self._data[start : start + self._grain]
            yield Extent(start, len(piece), not any(piece))

    def pread_into(self, offset: int, buffer: memoryview) -> None:
        buffer[:] = self._data[offset : offset + len(buffer)]


class FileSink:
    """A new file for the writer."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.touch(exist_ok=False)

    def resize(self, size_bytes: int) -> None:
        with self._path.open("r+b") as file:
            file.truncate(size_bytes)

    def write_at(self, offset: int, data: memoryview | bytes) -> None:
        with self._path.open("r+b") as file:
            file.seek(offset)
            file.write(data)

"""A folder of disk images made by qemu-img, and short ways to read them through the image source."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from adapters.image import ImageSource
from adapters.port import MachineFact, Snapshot, SnapshotRequest
from tests.support.nbd_peers import need


class ImageFolder:
    """Creates images under `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def raw(self, name: str, size_bytes: int = 1 << 20, seed: int = 1) -> bytes:
        """Write a raw image with some data and a hole; return its content."""
        data = random.Random(seed).randbytes(100_000)
        with (self.path / name).open("wb") as file:
            file.truncate(size_bytes)
            file.write(data)
        return data.ljust(size_bytes, b"\0")

    def convert(self, name: str, image_format: str, content: bytes, *options: str) -> None:
        """Write `content` as an image of another format."""
        need("qemu-img")
        filling = self.path / ".filling"
        filling.write_bytes(content)
        command = ["qemu-img", "convert", "-f", "raw", "-O", image_format, *options, filling, self.path / name]
        subprocess.run(command, check=True)
        filling.unlink()

    def overlay(self, name: str, backing: str, backing_format: str | None = "qcow2", size: str | None = None) -> None:
        """Create a qcow2 on top of `backing`, a name or path as it will stand in the header."""
        need("qemu-img")
        command = ["qemu-img", "create", "-q", "-f", "qcow2", "-u", "-b", backing]
        command += ["-F", backing_format] if backing_format else []
        subprocess.run([*command, self.path / name, size or "1M"], check=True)


@contextmanager
def snapshot_of(source: ImageSource, machine: MachineFact) -> Iterator[Snapshot]:
    """Snapshot every disk of a machine, all of which must be good."""
    assert not any(disk.exclusion for disk in machine.disks), machine
    bases = {disk.key: None for disk in machine.disks}
    snapshot = source.snapshot(machine, SnapshotRequest("test", bases))
    try:
        yield snapshot
    finally:
        snapshot.release(committed=False)


def machine(source: ImageSource, name: str) -> MachineFact:
    """Find a machine by its name."""
    return next(found for found in source.inventory() if found.name == name)


def content_of(source: ImageSource, name: str) -> dict[str, bytes]:
    """Read all disks of a machine whole."""
    contents = {}
    with snapshot_of(source, machine(source, name)) as snapshot:
        for key, disk in snapshot.disks.items():
            reader = disk.open()
            buffer = bytearray(reader.size_bytes)
            reader.pread_into(0, memoryview(buffer))
            contents[key] = bytes(buffer)
        snapshot.confirm()
    return contents

"""The tour's machine: a disk with a real ext4 file system, in a running QEMU where there is one.

Imports `adapters.qemu`. QEMU runs without a guest: the tour plays the guest and writes through QEMU's block
layer, so that the dirty bitmaps, the snapshot and the NBD export are the real ones.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Protocol

from adapters.errors import AdapterError
from adapters.qemu.qmp import Qmp
from storage.errors import Unavailable

DISK_BYTES = 512 * 1024 * 1024
START_SECONDS = 20.0
TOOL_PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


class DemoMachine(Protocol):
    """Something to back up, and how to change it."""

    source: tuple[str, dict[str, str]]
    about: str

    def write(self, offset: int, length: int, pattern: int) -> None:
        """Write `length` bytes of `pattern`, as the guest would."""

    def reference(self, path: Path) -> None:
        """Copy the disk's present content to a raw file, without Holdfast."""

    def stop(self) -> None:
        """End it."""


def make_disk(path: Path, random: Random) -> None:
    """Make a raw disk with an ext4 file system full of files: text that compresses, and bytes that don't."""
    tree = path.with_suffix(".tree")
    for number in range(40):
        folder = tree / f"srv/app-{number % 8}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"data-{number}.bin").write_bytes(random.randbytes(2 * 1024 * 1024))
        lines = (f"{number}.{line} backup catalog entry {random.random():.6f}\n" for line in range(20_000))
        (folder / f"log-{number}.txt").write_text("".join(lines))
    mkfs = shutil.which("mkfs.ext4", path=TOOL_PATH)
    if mkfs is None:
        raise Unavailable("mkfs.ext4 is not installed", code="mkfs-missing", hint="install e2fsprogs")
    with path.open("wb") as disk:
        disk.truncate(DISK_BYTES)
    subprocess.run([mkfs, "-q", "-F", "-d", str(tree), str(path)], check=True, capture_output=True)
    shutil.rmtree(tree)


class ImageMachine:
    """The disk alone, as a raw image file."""

    about = "an image file (qemu-system-x86_64 is not installed, so changes are found by comparison)"

    def __init__(self, directory: Path, random: Random) -> None:
        images = directory / "images"
        images.mkdir()
        self._path = images / "demo.raw"
        make_disk(self._path, random)
        self.source = ("image", {"path": str(images)})

    def write(self, offset: int, length: int, pattern: int) -> None:
        """Write into the file."""
        with self._path.open("r+b") as disk:
            disk.seek(offset)
            disk.write(bytes([pattern]) * length)

    def reference(self, path: Path) -> None:
        """Copy the file."""
        shutil.copyfile(self._path, path)

    def stop(self) -> None:
        """Nothing runs."""


class QemuMachine:
    """The disk in a running QEMU process."""

    def __init__(self, directory: Path, random: Random, qemu: str) -> None:
        raw, self._disk = directory / "disk.raw", directory / "disk.qcow2"
        make_disk(raw, random)
        subprocess.run(
            ["qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(raw), str(self._disk)],
            check=True,
            capture_output=True,
        )
        raw.unlink()
        backup_socket, self._guest_socket = directory / "qmp", directory / "guest"
        self.source = ("qemu", {"qmp": str(backup_socket)})
        self._process = subprocess.Popen(
            [
                qemu,
                "-name",
                "demo",
                "-machine",
                "none",
                "-nodefaults",
                "-display",
                "none",
                "-S",
                "-qmp",
                f"unix:{backup_socket},server=on,wait=off",
                "-qmp",
                f"unix:{self._guest_socket},server=on,wait=off",
                "-drive",
                f"if=none,id=disk0,format=qcow2,file={self._disk}",
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._guest = self._connect()
        version = subprocess.run([qemu, "--version"], check=True, capture_output=True, text=True).stdout.split("\n")[0]
        self.about = f"a running {version.split('(')[0].strip()} with a qcow2 disk"

    def _connect(self) -> Qmp:
        until = time.monotonic() + START_SECONDS
        while True:
            with suppress(AdapterError):
                return Qmp(self._guest_socket)
            if time.monotonic() > until or self._process.poll() is not None:
                raise Unavailable("QEMU did not start", code="qemu-start")
            time.sleep(0.05)

    def write(self, offset: int, length: int, pattern: int) -> None:
        """Write through QEMU's block layer."""
        self._guest.execute(
            "human-monitor-command", {"command-line": f'qemu-io disk0 "write -P {pattern} {offset} {length}"'}
        )

    def reference(self, path: Path) -> None:
        """Let qemu-img read the disk; no guest is writing."""
        self._guest.execute("human-monitor-command", {"command-line": 'qemu-io disk0 "flush"'})
        subprocess.run(
            ["qemu-img", "convert", "-U", "-f", "qcow2", "-O", "raw", str(self._disk), str(path)],
            check=True,
            capture_output=True,
        )

    def stop(self) -> None:
        """End the process."""
        with suppress(AdapterError):
            self._guest.execute("quit")
        self._guest.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def start_machine(directory: Path, random: Random) -> DemoMachine:
    """Start the best machine that this computer can offer."""
    qemu = shutil.which("qemu-system-x86_64")
    if qemu and shutil.which("qemu-img"):
        return QemuMachine(directory, random, qemu)
    return ImageMachine(directory, random)

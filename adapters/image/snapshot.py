"""Images held open for one backup. Imports `adapters` only.

Nothing is frozen: `confirm` says whether any file changed since the snapshot was taken, by size, time of
change and inode, and for a block device by what the kernel says was written to it.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from adapters.errors import SourceConflict, SourceInvalid
from adapters.image.formats import RAW, VIRTUAL
from adapters.image.images import Image, file_error, open_file
from adapters.image.qemunbd import ImageServer
from adapters.image.rawreader import RawReader
from adapters.image.virtual import VirtualReader, open_virtual
from adapters.port import (
    BlockReader,
    ConfigurationFile,
    Consistency,
    DiskFact,
    DiskSnapshot,
    Extent,
    Tracked,
    TransportChoice,
    Untracked,
)
from adapters.virtualdisk.chain import VirtualDisk

_CLOCK_GRAIN_NS = 20_000_000  # coarser than the kernel's file times


@dataclass(frozen=True, slots=True)
class Signature:
    """What a file looked like."""

    device: int
    inode: int
    size_bytes: int
    modified_ns: int
    sectors_written: int


def sign(path: Path) -> Signature:
    """Describe a file now. A file time of this very tick is waited out: it could not show the next write."""
    for _ in range(3):
        try:
            found = path.stat()
        except OSError as error:
            raise file_error(path, error) from None
        if stat.S_ISBLK(found.st_mode):
            return Signature(found.st_rdev, 0, _device_bytes(path), 0, _sectors_written(found.st_rdev))
        if abs(time.time_ns() - found.st_mtime_ns) > _CLOCK_GRAIN_NS:
            break
        time.sleep(_CLOCK_GRAIN_NS / 1e9)
    return Signature(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, 0)


def _device_bytes(path: Path) -> int:
    try:
        with open(path, "rb", buffering=0) as device:
            return device.seek(0, os.SEEK_END)
    except OSError as error:
        raise file_error(path, error) from None


def _sectors_written(device: int) -> int:
    """Read the kernel's count (the seventh field of the device's `stat`); 0 when it keeps none."""
    try:
        fields = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/stat").read_text().split()
    except OSError:
        return 0
    return int(fields[6]) if len(fields) > 6 else 0


class ImageDisk:
    """One disk of a snapshot."""

    base_token: str | None = None
    tracking: Tracked | Untracked = Untracked("compare")
    choice: TransportChoice | None = None

    def __init__(
        self, fact: DiskFact, image: Image, root: Path, runtime_dir: Path, machine_key: str, label: str
    ) -> None:
        self.fact = fact
        self._image = image
        self._readers: list[BlockReader] = []
        self._held = ExitStack()
        self._server: ImageServer | None = None
        self._virtual: VirtualDisk | None = None
        self._signatures = {path: sign(path) for path in image.files}
        with ExitStack() as started:
            size_bytes = image.size_bytes
            if image.format == RAW:
                _, self._file = open_file(image.path, claim=True)
                started.enter_context(self._file)
            elif image.format in VIRTUAL:
                self._virtual = open_virtual(image.path, root)
                started.callback(self._virtual.close)
                if self._virtual.files != tuple(map(str, image.files)):
                    raise SourceConflict(f"{fact.label} got another parent", code="image-changed")
                size_bytes = self._virtual.size_bytes
            else:
                self._server = ImageServer(image, runtime_dir, machine_key, label)
                started.callback(self._server.close)
                size_bytes = self._server.size_bytes
            self._check_size(size_bytes)
            self._held = started.pop_all()

    def changes(self) -> Iterator[Extent]:
        """Refuse: images do not track changes."""
        raise SourceInvalid("Images do not track changes", code="not-tracked")

    def open(self) -> BlockReader:
        """Open a reader; the snapshot's release closes it."""
        reader: BlockReader
        if self._server is not None:
            reader = self._server.open()
        elif self._virtual is not None:
            reader = VirtualReader(self._virtual)
        else:
            transport = "device" if self._image.device else "file"
            reader = RawReader(self._image.path, self._file.fileno(), self.fact.size_bytes, transport)
        self._readers.append(reader)
        return reader

    def confirm(self) -> None:
        """Raise SourceConflict when a file changed since the snapshot."""
        for path, signature in self._signatures.items():
            if sign(path) != signature:
                raise SourceConflict(
                    f"{path.name} changed while it was read",
                    code="image-changed",
                    why="what was read is not one moment of the disk",
                    hint="Back up a snapshot of the image, or the machine through its hypervisor.",
                )

    def release(self) -> None:
        """Close readers and files, end the server."""
        for reader in self._readers:
            reader.close()
        self._held.close()

    def _check_size(self, size_bytes: int) -> None:
        if size_bytes != self.fact.size_bytes:
            raise SourceConflict(
                f"{self.fact.label} changed its size", code="image-changed", hint="Take the inventory again."
            )


class ImageSnapshot:
    """The disks of a machine; see the module's docstring for what holds."""

    consistency: Consistency = "crash"
    configuration: Sequence[ConfigurationFile] = ()

    def __init__(self, label: str, fallback_cause: str | None) -> None:
        self.label = label
        self.fallback_cause = fallback_cause
        self.disks: Mapping[str, DiskSnapshot] = {}
        self._disks: list[ImageDisk] = []

    def add(self, disk: ImageDisk) -> None:
        """Take a disk over: `release` releases it."""
        self._disks.append(disk)
        self.disks = {**self.disks, disk.fact.key: disk}

    def confirm(self) -> None:
        """Raise SourceConflict(code="image-changed") when what was read is not one moment."""
        for disk in self._disks:
            disk.confirm()

    def release(self, *, committed: bool) -> None:
        """Close everything; the outcome does not matter, as nothing is tracked."""
        with ExitStack() as closing:
            for disk in self._disks:
                closing.callback(disk.release)

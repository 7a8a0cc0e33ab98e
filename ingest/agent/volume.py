"""What an agent can send: something with a size that is read at any offset. Here: a block device or a raw file.

Imports `adapters.image`, `adapters.port` and `ingest.agent.protocol`. Nothing is frozen here: `confirm` says whether it
was written to meanwhile, by the kernel's own count or the file's times.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, Protocol

from adapters.errors import SourceConflict
from adapters.image.images import open_file
from adapters.image.rawreader import RawReader
from adapters.image.snapshot import sign
from adapters.port import Extent
from ingest.agent.protocol import LeftOut

Transport = Literal["device", "file", "directory"]


class Volume(Protocol):
    """One disk to send; reads are safe from several threads.

    `settled`: whether a block that is read again must be what it was. `live`: whether others may be writing.
    """

    key: str
    size_bytes: int
    transport: Transport
    settled: bool
    live: bool

    def extents(self) -> Iterator[Extent]:
        """Yield all of it in order, gapless."""

    def pread_into(self, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` from `offset`."""

    def confirm(self) -> tuple[LeftOut, ...]:
        """Say what is not in it as it should be. Raises SourceConflict when what was read is not one moment."""

    def close(self) -> None:
        """Let go of it."""


class DeviceVolume:
    """A block device or a raw file; `key` is what the disk is called, `path` where it is read from.

    A device that nobody uses is claimed, so that nobody can begin to; another one is read live.
    """

    settled = True

    def __init__(self, key: str, path: Path) -> None:
        self.key = key
        self._path = path
        self.live = False
        self._signature = sign(path)
        try:
            mode, self._file = open_file(path, claim=True)
        except SourceConflict:
            mode, self._file = open_file(path)
            self.live = True
        self.transport: Transport = "device" if stat.S_ISBLK(mode) else "file"
        self.size_bytes = os.lseek(self._file.fileno(), 0, os.SEEK_END)
        self._reader = RawReader(path, self._file.fileno(), self.size_bytes, self.transport)

    def extents(self) -> Iterator[Extent]:
        """Yield data and holes."""
        return self._reader.extents()

    def pread_into(self, offset: int, buffer: memoryview) -> None:
        """Read."""
        self._reader.pread_into(offset, buffer)

    def confirm(self) -> tuple[LeftOut, ...]:
        """Raise SourceConflict when it was written to."""
        if sign(self._path) != self._signature:
            raise SourceConflict(
                f"{self.key} was written to while it was read",
                code="agent-device-changed",
                why="what was read is not one moment of the disk",
                hint="Give --snapshot-command, or --freeze-command and --thaw-command.",
            )
        return ()

    def close(self) -> None:
        """Close it."""
        self._reader.close()
        self._file.close()

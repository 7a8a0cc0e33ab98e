"""A sparse file without a name that holds a disk while it arrives. Imports `adapters.errors` only.

It costs as much space as the disk has data, and ends with its descriptor: a crash leaves nothing.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from adapters.errors import SourceLimit, SourceUnavailable

RESERVE_BYTES = 1 << 30
"""What is left free for others on the file system."""

_LOOK_EVERY = 64 << 20


class Spool:
    """`size_bytes` in `folder`, more once more is written. One thread writes; any may read what was written.

    `descriptor` is open as long as the spool is, for a child that reads it.
    """

    def __init__(
        self,
        folder: Path,
        size_bytes: int,
        *,
        reserve_bytes: int = RESERVE_BYTES,
        free_bytes: Callable[[int], int] | None = None,
    ) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self._reserve = reserve_bytes
        self._free_bytes = free_bytes or _free_bytes
        self._unlooked = _LOOK_EVERY
        with tempfile.TemporaryFile(dir=folder, prefix="spool-", buffering=0) as file:
            self.descriptor = os.dup(file.fileno())
        os.ftruncate(self.descriptor, size_bytes)

    def write(self, offset: int, data: bytes | memoryview) -> None:
        """Keep bytes. Raises SourceLimit (`spool-full`) before the file system is full."""
        self._unlooked += len(data)
        if self._unlooked >= _LOOK_EVERY:
            self._unlooked = 0
            if self._free_bytes(self.descriptor) < self._reserve:
                raise self._full()
        view = memoryview(data)
        try:
            while view:
                count = os.pwrite(self.descriptor, view, offset)
                view, offset = view[count:], offset + count
        except OSError as error:
            raise self._full(error.strerror or "") from None

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill `buffer`."""
        try:
            while buffer:
                count = os.preadv(self.descriptor, [buffer], offset)
                if not count:
                    raise SourceUnavailable("The spooled disk became shorter", code="spool-lost")
                buffer, offset = buffer[count:], offset + count
        except OSError as error:
            raise SourceUnavailable("The spooled disk cannot be read", code="spool-lost", why=str(error)) from None

    def close(self) -> None:
        """Give the space back."""
        os.close(self.descriptor)

    def _full(self, why: str = "") -> SourceLimit:
        return SourceLimit(
            f"There is too little space in {self._folder} for an exported disk",
            code="spool-full",
            why=why or f"less than {self._reserve} bytes are free",
            hint="An export needs as much space there as the disk has data. Free some, or allow another transport.",
        )


def _free_bytes(descriptor: int) -> int:
    found = os.fstatvfs(descriptor)
    return found.f_bavail * found.f_frsize

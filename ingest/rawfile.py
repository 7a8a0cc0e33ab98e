"""The raw image that a restore fills: blocks in any order, from several threads, past the page cache.

Imports the standard library only. Two threads that write one file through the page cache spend more time on its lock
and on copying than on decompressing; nothing of the image is read again soon.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ALIGN_BYTES = 4096


class RawFile:
    """An image of fixed size, all holes at first. `write` may be called from several threads."""

    def __init__(self, buffered: int, direct: int | None) -> None:
        self._buffered = buffered
        self._direct = direct

    @classmethod
    @contextmanager
    def created(cls, path: Path, size_bytes: int) -> Iterator[RawFile]:
        """Create the image, or empty the one that is there, for the length of the block."""
        buffered = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        direct = None
        try:
            os.ftruncate(buffered, size_bytes)
            direct = _open_direct(path)
            yield cls(buffered, direct)
        finally:
            os.close(buffered)
            if direct is not None:
                os.close(direct)

    def write(self, offset: int, data: memoryview) -> None:
        """Write all of `data`; whole pages of memory go straight to the disk."""
        if self._direct is not None and not offset % ALIGN_BYTES and not len(data) % ALIGN_BYTES:
            done = self._write_direct(offset, data)
            offset, data = offset + done, data[done:]
        while data:
            done = os.pwrite(self._buffered, data, offset)
            offset, data = offset + done, data[done:]

    def _write_direct(self, offset: int, data: memoryview) -> int:
        """Write what the disk takes; 0 when the memory is not aligned as it wants."""
        if self._direct is None:
            return 0
        try:
            return os.pwrite(self._direct, data, offset)
        except OSError as error:
            if error.errno == errno.EINVAL:
                return 0
            raise


def _open_direct(path: Path) -> int | None:
    """Open past the page cache, where the file system can."""
    try:
        return os.open(path, os.O_WRONLY | os.O_DIRECT | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.EINVAL:
            return None
        raise

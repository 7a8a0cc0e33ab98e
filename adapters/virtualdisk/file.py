"""Random access to a file, whoever keeps it: what the readers of this package ask for, and its local form.

Imports `adapters.errors` only.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from threading import Event, Lock
from typing import Protocol

from adapters.errors import AdapterError, SourceConflict, SourceDenied, SourceInvalid, SourceNotFound, SourceUnavailable


class RandomFile(Protocol):
    """A file opened for reading. Safe to use from several threads."""

    size_bytes: int

    def pread_into(self, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` from `offset`, wholly or not at all (then an AdapterError)."""

    def close(self) -> None:
        """Give the file back; closing twice is harmless."""


OpenFile = Callable[[str], RandomFile]
"""Opens a file by its path as its keeper spells it. Raises SourceNotFound when there is none, other AdapterErrors."""


class LocalFile:
    """A RandomFile of this host; `close` waits for reads under way, so that a descriptor is never read after reuse."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock = Lock()
        self._idle = Event()
        self._reads = 0
        self._closed = False
        try:
            # O_NONBLOCK: opening a named pipe must not wait for its writer.
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except (OSError, ValueError) as error:
            raise _file_error(path, error) from None
        try:
            mode = os.fstat(self._descriptor).st_mode
            if not stat.S_ISREG(mode) and not stat.S_ISBLK(mode):
                raise SourceInvalid(f"{path} is neither a file nor a block device", code="file-not-a-file")
            self.size_bytes = os.lseek(self._descriptor, 0, os.SEEK_END)
        except BaseException:
            os.close(self._descriptor)
            raise

    def pread_into(self, offset: int, buffer: memoryview) -> None:
        """Fill `buffer`. Raises SourceConflict if the file became shorter, SourceUnavailable after `close`."""
        descriptor = self._begin()
        try:
            while (count := os.preadv(descriptor, [buffer], offset)) < len(buffer):
                if not count:
                    raise SourceConflict(f"{self._path} is shorter than it was", code="file-changed")
                buffer, offset = buffer[count:], offset + count
        except OSError as error:
            raise _file_error(self._path, error) from None
        finally:
            self._end()

    def close(self) -> None:
        """Close the file; twice is harmless."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            if not self._reads:
                self._idle.set()
        self._idle.wait()
        os.close(self._descriptor)

    def _begin(self) -> int:
        with self._lock:
            if self._closed:
                raise SourceUnavailable(f"{self._path} was closed", code="file-closed")
            self._reads += 1
            return self._descriptor

    def _end(self) -> None:
        with self._lock:
            self._reads -= 1
            if self._closed and not self._reads:
                self._idle.set()


def read_bytes(file: RandomFile, offset: int, length: int) -> bytes:
    """Return `length` bytes from `offset`. Raises what the file does."""
    content = bytearray(length)
    file.pread_into(offset, memoryview(content))
    return bytes(content)


def _file_error(path: str, error: OSError | ValueError) -> AdapterError:
    """Translate what the system said about a file; a ValueError is a path that no file can have."""
    why = (error.strerror if isinstance(error, OSError) else None) or str(error)
    if isinstance(error, FileNotFoundError | NotADirectoryError | ValueError):
        return SourceNotFound(f"{path} cannot be found", code="file-missing", why=why)
    if isinstance(error, PermissionError):
        hint = "Give the backup's user the right to read."
        return SourceDenied(f"{path} cannot be read", code="file-denied", why=why, hint=hint)
    return SourceUnavailable(f"{path} cannot be read", code="file-read-error", why=why)

"""Direct reads of a raw image or a block device.

Imports `adapters.errors`, `adapters.port` and this package only.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from threading import Condition

from adapters.errors import SourceConflict, SourceInvalid, SourceUnavailable
from adapters.image.images import file_error
from adapters.port import Extent


class RawReader:
    """Reads a duplicate of `descriptor`; `close` waits for reads under way, so that it is never read after reuse."""

    def __init__(self, path: Path, descriptor: int, size_bytes: int, transport: str) -> None:
        self.size_bytes = size_bytes
        self.transport = transport
        self._path = path
        self._descriptor = os.dup(descriptor)
        self._idle = Condition()
        self._reads = 0
        self._closed = False
        os.posix_fadvise(self._descriptor, 0, 0, os.POSIX_FADV_SEQUENTIAL)

    def extents(self) -> Iterator[Extent]:
        """Yield data and holes as the file system knows them; all is data where it does not say."""
        position = 0
        while position < self.size_bytes:
            data = self._seek(position, os.SEEK_DATA)
            if data > position:
                yield Extent(position, data - position, zero=True)
            end = self._seek(data, os.SEEK_HOLE) if data < self.size_bytes else data
            if end > data:
                yield Extent(data, end - data, zero=False)
            position = end

    def pread_into(self, offset: int, buffer: memoryview) -> None:
        """Fill `buffer`. Raises SourceInvalid past the end, SourceConflict if the file became shorter."""
        if offset < 0 or offset + len(buffer) > self.size_bytes:
            raise SourceInvalid(
                f"A read of {len(buffer)} bytes at {offset} is outside the disk",
                code="read-past-end",
                why=f"it has {self.size_bytes} bytes",
            )
        descriptor = self._begin()
        try:
            while buffer:
                count = os.preadv(descriptor, [buffer], offset)
                if not count:
                    raise SourceConflict(f"{self._path.name} became shorter while it was read", code="image-changed")
                buffer, offset = buffer[count:], offset + count
        except OSError as error:
            raise file_error(self._path, error) from None
        finally:
            self._end()

    def close(self) -> None:
        """Close the file; twice is harmless."""
        with self._idle:
            if self._closed:
                return
            self._closed = True
            while self._reads:
                self._idle.wait()
            os.close(self._descriptor)

    def _seek(self, position: int, whence: int) -> int:
        """Find the next data or hole, the disk's end when there is none."""
        descriptor = self._begin()
        try:
            return min(os.lseek(descriptor, position, whence), self.size_bytes)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return self.size_bytes
            if error.errno in {errno.EINVAL, errno.EOPNOTSUPP}:
                return position if whence == os.SEEK_DATA else self.size_bytes
            raise file_error(self._path, error) from None
        finally:
            self._end()

    def _begin(self) -> int:
        with self._idle:
            if self._closed:
                raise SourceUnavailable(f"{self._path.name} was closed", code="image-closed")
            self._reads += 1
            return self._descriptor

    def _end(self) -> None:
        with self._idle:
            self._reads -= 1
            self._idle.notify_all()

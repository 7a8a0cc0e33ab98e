"""A disk that arrives as a stream and is read while it does. Imports `adapters.errors`, `adapters.port` and `spool`.

One thread writes and tells; any number read. Reads of what arrived do not wait for the rest; the list of extents ends
only when the stream was called whole, and whatever fails the stream fails every reader.
"""

from __future__ import annotations

from collections.abc import Iterator
from threading import Condition

from adapters.errors import AdapterError, SourceInvalid, SourceUnavailable
from adapters.port import Extent
from adapters.spool import Spool


class ArrivingDisk:
    """`size_bytes` that arrive in `spool`, which is owned: closed with this."""

    def __init__(self, size_bytes: int, spool: Spool) -> None:
        self.size_bytes = size_bytes
        self.arrived = 0
        self._spool = spool
        self._news = Condition()  # guards all below, and `arrived`
        self._extents: list[Extent] = []
        self._whole = False
        self._failed: AdapterError | None = None
        self._closed = False

    def write(self, offset: int, data: bytes | memoryview) -> None:
        """Keep bytes; they are read once an extent tells of them. What is not written is zeros."""
        self._spool.write(offset, data)

    def told(self, extent: Extent) -> None:
        """The disk is there up to the end of `extent`, the next one. Raises what failed it meanwhile."""
        with self._news:
            if self._failed is not None:
                raise again(self._failed)
            self._extents.append(extent)
            self.arrived = extent.end
            self._news.notify_all()

    def complete(self) -> None:
        """All arrived and was checked."""
        with self._news:
            self._whole = True
            self._news.notify_all()

    def fail(self, error: AdapterError) -> None:
        """Fail every reader, now and later, with `error`; the first one counts."""
        with self._news:
            self._failed = self._failed or error
            self._news.notify_all()

    def require_wanted(self) -> None:
        """Raise what failed the disk, if anything did: its being closed is a failure, too."""
        with self._news:
            if self._failed is not None:
                raise again(self._failed)

    def extents(self) -> Iterator[Extent]:
        """Yield the disk in order, gapless, as it arrives. Ends only when all was checked."""
        told = 0
        while True:
            with self._news:
                while not (self._failed or self._whole or told < len(self._extents)):
                    self._news.wait()
                if self._failed:
                    raise again(self._failed)
                news = self._extents[told:]
                if not news:
                    return
            told += len(news)
            yield from news

    def pread_into(self, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` from `offset`, once that has arrived. Raises SourceInvalid past the end, or the failure."""
        if offset < 0 or offset + len(buffer) > self.size_bytes:
            raise SourceInvalid(
                f"A read of {len(buffer)} bytes at {offset} is outside the disk",
                code="read-past-end",
                why=f"it has {self.size_bytes} bytes",
            )
        with self._news:
            while not self._failed and self.arrived < offset + len(buffer):
                self._news.wait()
            if self._failed:
                raise again(self._failed)
        self._spool.read_into(offset, buffer)

    def stop(self) -> bool:
        """Refuse readers from now on; False when it was done before. The writer meets it at its next extent."""
        with self._news:
            first, self._closed = not self._closed, True
        self.fail(SourceUnavailable("The reader was closed", code="reader-closed"))
        return first

    def close(self) -> None:
        """Give the space back; neither writer nor readers may be at work."""
        self._spool.close()


def again(error: AdapterError) -> AdapterError:
    """Copy an error, so that each thread raises its own."""
    return type(error)(error.what, code=error.code, why=error.why, hint=error.hint)

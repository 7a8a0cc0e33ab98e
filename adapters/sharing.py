"""Readers of one frozen disk on one connection. Imports `adapters.areas`, `adapters.errors` and `adapters.port`.

Hosts serve few connections, so all who read a disk share one reader; the last one closes it, and `shut` closes it
whoever still reads.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator

from adapters.areas import Area, cut
from adapters.errors import SourceUnavailable
from adapters.port import BlockReader, Extent


class SharedReader:
    """Opens `opener` once however many readers there are, and closes it with the last of them."""

    def __init__(self, opener: Callable[[], BlockReader]) -> None:
        self._opener = opener
        self._lock = threading.Lock()
        self._inner: BlockReader | None = None
        self._users = 0
        self._over = False

    def open(self) -> SharedHandle:
        """Return a reader of its own. Raises SourceUnavailable after `shut`, and what opening meets."""
        with self._lock:
            if self._over:
                raise _closed()
            if self._inner is None:
                self._inner = self._opener()
            self._users += 1
            return SharedHandle(self, self._inner)

    def leave(self) -> None:
        """One reader less."""
        with self._lock:
            self._users -= 1
            if self._users == 0:
                self._close()

    def extents(self, reader: BlockReader) -> Iterator[Extent]:
        """The whole disk in order, as `reader` tells it."""
        return reader.extents()

    def shut(self) -> None:
        """Close the connection whoever still reads."""
        with self._lock:
            self._over = True
            self._close()

    @property
    def over(self) -> bool:
        """Whether `shut` was called."""
        return self._over

    def _close(self) -> None:
        inner, self._inner = self._inner, None
        if inner is not None:
            inner.close()


class SharedHandle:
    """A BlockReader on a connection that others may use, too."""

    def __init__(self, shared: SharedReader, inner: BlockReader) -> None:
        self.size_bytes = inner.size_bytes
        self.transport = inner.transport
        self._shared = shared
        self._inner = inner
        self._closed = False
        self._lock = threading.Lock()

    def extents(self) -> Iterator[Extent]:
        """Yield the whole disk in order, gapless."""
        self._require_open()
        return self._shared.extents(self._inner)

    def changes(self, changed: Iterable[Area]) -> Iterator[Extent]:
        """Yield `changed`, split into what is zero now and what is to be read."""
        return cut(changed, self.extents())

    def pread_into(self, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` from `offset`. Raises SourceUnavailable once this reader or the snapshot is closed."""
        self._require_open()
        self._inner.pread_into(offset, buffer)

    def close(self) -> None:
        """Leave the connection to the others; closing twice is harmless."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._shared.leave()

    def _require_open(self) -> None:
        if self._closed or self._shared.over:
            raise _closed()


def _closed() -> SourceUnavailable:
    return SourceUnavailable("The reader was closed", code="reader-closed")

"""Readers of one frozen disk, which share its open files. Imports the shared modules of `adapters`.

A connection that is lost while the machine or its volume moves is no end: the files are opened again, where they are
best read then, and the read is repeated. What is opened again must be the same disk.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator

from adapters.areas import Area, cut
from adapters.errors import SourceConflict, SourceInvalid, SourceUnavailable
from adapters.port import Extent
from adapters.virtualdisk.chain import VirtualDisk

TRANSPORT = "smb"
_MOST_REOPENINGS = 3
"""How often in a row the files are opened again without a read that succeeded."""


class SharedDisk:
    """The open files of a frozen disk, for however many readers there are; closed with the last of them."""

    def __init__(self, opener: Callable[[], VirtualDisk], *, label: str, identity: str, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        self._opener = opener
        self._label = label
        self._identity = identity
        self._lock = threading.RLock()
        self._disk: VirtualDisk | None = None
        self._readers = 0
        self._failures = 0
        self._over = False

    @property
    def over(self) -> bool:
        """Whether `shut` was called."""
        return self._over

    def open(self) -> DiskReader:
        """Return a reader of its own. Raises SourceUnavailable after `shut`, and what opening meets."""
        with self._lock:
            self._opened()
            self._readers += 1
            return DiskReader(self)

    def leave(self) -> None:
        """One reader less."""
        with self._lock:
            self._readers -= 1
            if self._readers == 0:
                self._close()

    def shut(self) -> None:
        """Close the files whoever still reads."""
        with self._lock:
            self._over = True
            self._close()

    def extents(self) -> Iterator[Extent]:
        """The whole disk, in order."""
        return self._opened().extents()

    def pread_into(self, offset: int, buffer: memoryview) -> None:
        """Fill `buffer`, over new connections when the old ones were lost."""
        while True:
            disk = None
            try:
                disk = self._opened()
                disk.pread_into(offset, buffer)
            except SourceUnavailable as lost:
                self._give_up(disk, lost)
            else:
                self._failures = 0
                return

    def _opened(self) -> VirtualDisk:
        with self._lock:
            if self._over:
                raise closed()
            if self._disk is None:
                disk = self._opener()
                if (disk.identity, disk.size_bytes) != (self._identity, self.size_bytes):
                    disk.close()
                    raise SourceConflict(
                        f"{self._label} is another disk than was frozen",
                        code="disk-changed",
                        why="its files have another identity or size",
                    )
                self._disk = disk
            return self._disk

    def _give_up(self, disk: VirtualDisk | None, lost: SourceUnavailable) -> None:
        """Close files that failed, unless another reader has done it. Raises `lost` when that has not helped."""
        with self._lock:
            if self._over:
                raise closed() from None
            if self._disk is not disk:
                return
            self._failures += 1
            self._close()
            if self._failures > _MOST_REOPENINGS:
                raise lost

    def _close(self) -> None:
        disk, self._disk = self._disk, None
        if disk is not None:
            disk.close()


class DiskReader:
    """A BlockReader on files that others may use, too."""

    transport = TRANSPORT

    def __init__(self, shared: SharedDisk) -> None:
        self.size_bytes = shared.size_bytes
        self._shared = shared
        self._closed = False
        self._lock = threading.Lock()

    def extents(self) -> Iterator[Extent]:
        """Yield the whole disk; what its files do not hold is zero."""
        self._require_open()
        yield from self._shared.extents()

    def changes(self, changed: Iterable[Area]) -> Iterator[Extent]:
        """Yield `changed`, split into what is zero now and what is to be read."""
        yield from cut(changed, self.extents())

    def pread_into(self, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` from `offset`. Raises SourceInvalid past the end, SourceUnavailable once this is closed."""
        if offset < 0 or offset + len(buffer) > self.size_bytes:
            raise SourceInvalid(
                f"A read of {len(buffer)} bytes at {offset} is outside the disk",
                code="read-past-end",
                why=f"it has {self.size_bytes} bytes",
            )
        self._require_open()
        self._shared.pread_into(offset, buffer)

    def close(self) -> None:
        """Leave the files to the others; closing twice is harmless."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._shared.leave()

    def _require_open(self) -> None:
        if self._closed or self._shared.over:
            raise closed()


def closed() -> SourceUnavailable:
    """The error of a reader after its end."""
    return SourceUnavailable("The reader was closed", code="reader-closed")

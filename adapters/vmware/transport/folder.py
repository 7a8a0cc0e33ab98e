"""The `http_folder` transport: a flat disk file read through the server's own `/folder`.

Imports `adapters.errors`, `adapters.port` and this package only. Needs nothing but HTTPS; whatever the file's size is,
a disk that does not fit into it is refused at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from urllib.parse import quote

from adapters.errors import SourceConflict, SourceInvalid, SourceUnavailable
from adapters.port import Extent
from adapters.vmware.transport.limits import HostConnections
from adapters.vmware.transport.ranges import HttpsServer, RangedFile

_SECTOR = 512


def folder_target(datastore: str, path: str, datacenter_path: str) -> str:
    """Return the request target of a datastore's file; names are quoted as the inventory spells them.

    A vCenter names datacenters by their path in the inventory, in which a slash within a name is `%2f`; an ESXi host
    needs none.
    """
    query = f"dsName={quote(datastore, safe='')}"
    if datacenter_path:
        query = f"dcPath={quote(datacenter_path, safe='')}&{query}"
    return f"/folder/{quote(path.lstrip('/'), safe='/')}?{query}"


class FolderReader:
    """Random reads of `[datastore] path`, of which the disk's `size_bytes` are there: checked when it is opened."""

    transport = "http_folder"

    def __init__(
        self,
        server: HttpsServer,
        datastore: str,
        path: str,
        datacenter_path: str,
        size_bytes: int,
        places: HostConnections,
        *,
        timeout_seconds: float = 60.0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.size_bytes = size_bytes
        self._name = f"[{datastore}] {path}"
        self._closed = False
        target = folder_target(datastore, path, datacenter_path)
        self._file = RangedFile(server, target, places, name=self._name, timeout_seconds=timeout_seconds, sleep=sleep)
        self._total: int | None = None
        self._measure()

    def extents(self) -> Iterator[Extent]:
        """Yield the whole disk as data: a flat file does not tell what is zero."""
        return iter([Extent(0, self.size_bytes, zero=False)] if self.size_bytes else [])

    def pread_into(self, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` from `offset`. Raises SourceInvalid past the end, SourceConflict when the file grew."""
        if self._closed:
            raise SourceUnavailable(f"{self._name} was closed", code="reader-closed")
        if offset < 0 or offset + len(buffer) > self.size_bytes:
            raise SourceInvalid(
                f"A read of {len(buffer)} bytes at {offset} is outside the disk",
                code="read-past-end",
                why=f"it has {self.size_bytes} bytes",
            )
        if buffer and self._file.read_into(offset, buffer.cast("B")) != self._total:
            raise SourceConflict(f"{self._name} changed its size while it was read", code="folder-file-changed")

    def close(self) -> None:
        """Close the connections that wait; closing twice is harmless."""
        if not self._closed:
            self._closed = True
            self._file.close()

    def _measure(self) -> None:
        """Read the disk's last sector: it must be there, and the answer tells the file's size."""
        if not self.size_bytes:
            return
        tail = memoryview(bytearray(min(_SECTOR, self.size_bytes)))
        try:
            self._total = self._file.read_into(self.size_bytes - len(tail), tail)
        except BaseException:
            self.close()
            raise

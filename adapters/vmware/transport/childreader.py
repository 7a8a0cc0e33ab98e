"""One frozen disk behind a NBD program of our own. Imports `adapters.errors`, `adapters.nbd` and `adapters.port`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

from adapters.errors import SourceCorrupt, SourceInvalid, SourceUnavailable
from adapters.nbd.client import NbdClient
from adapters.nbd.reader import NbdReader
from adapters.port import Extent


class ChildReader:
    """The first `size_bytes` behind `client`; `held` is closed with it. Raises SourceCorrupt when it has fewer."""

    def __init__(self, client: NbdClient, size_bytes: int, transport: str, name: str, held: ExitStack) -> None:
        if client.size_bytes < size_bytes:
            raise SourceCorrupt(
                f"{name} is smaller than its disk",
                code="disk-too-small",
                why=f"{transport} shows {client.size_bytes} of {size_bytes} bytes",
            )
        self.size_bytes = size_bytes
        self.transport = transport
        self._reader = NbdReader(client)
        self._held = held
        self._closed = False

    def extents(self) -> Iterator[Extent]:
        """Yield the disk in order, gapless, zeros as far as the program knows of them."""
        for extent in self._open().extents():
            if extent.start >= self.size_bytes:
                return
            yield Extent(extent.start, min(extent.end, self.size_bytes) - extent.start, extent.zero)

    def pread_into(self, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` from `offset`. Raises SourceInvalid past the end, else what the program or its source met."""
        if offset < 0 or offset + len(buffer) > self.size_bytes:
            raise SourceInvalid(
                f"A read of {len(buffer)} bytes at {offset} is outside the disk",
                code="read-past-end",
                why=f"it has {self.size_bytes} bytes",
            )
        self._open().pread_into(offset, buffer)

    def close(self) -> None:
        """Close the disk and end the program; twice is harmless."""
        self._closed = True
        self._held.close()

    def _open(self) -> NbdReader:
        if self._closed:
            raise SourceUnavailable("The reader was closed", code="reader-closed")
        return self._reader

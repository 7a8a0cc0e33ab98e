"""The port's BlockReader on top of an NBD client. Imports `adapters.port` and this package only."""

from __future__ import annotations

from collections.abc import Iterator

from adapters.nbd import protocol as p
from adapters.nbd.client import NbdClient, Status
from adapters.port import Extent


def zero_extents(statuses: Iterator[Status], zero_flag: int = p.STATE_ZERO) -> Iterator[Extent]:
    """Turn block status into extents, merging neighbours; a hole that is not said to be zero must be read."""
    held: Extent | None = None
    for status in statuses:
        zero = bool(status.flags & zero_flag)
        if held is not None and held.zero == zero and held.end == status.start:
            held = Extent(held.start, held.length + status.length, zero)
            continue
        if held is not None:
            yield held
        held = Extent(status.start, status.length, zero)
    if held is not None:
        yield held


class NbdReader:
    """A frozen disk behind an NBD export; owns `client` and closes it.

    Without `base:allocation` at the server the whole disk is data.
    """

    def __init__(self, client: NbdClient, *, transport: str = "nbd") -> None:
        self._client = client
        self.size_bytes = client.size_bytes
        self.transport = transport

    def extents(self) -> Iterator[Extent]:
        """Yield the whole disk in order, gapless."""
        if p.BASE_ALLOCATION in self._client.contexts:
            return zero_extents(self._client.block_status(p.BASE_ALLOCATION))
        return iter([Extent(0, self.size_bytes, zero=False)] if self.size_bytes else [])

    def pread_into(self, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` from `offset`. Raises SourceInvalid past the end, else what the connection met."""
        self._client.pread_into(offset, buffer)

    def close(self) -> None:
        """Close the client; twice is harmless."""
        self._client.close()

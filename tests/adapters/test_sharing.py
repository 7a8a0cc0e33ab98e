"""Readers of a frozen disk: one connection for all of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from adapters.errors import SourceUnavailable
from adapters.port import Extent
from adapters.sharing import SharedReader


class Disk:
    """A disk of ones; `closed` counts."""

    size_bytes = 4096
    transport = "nbd"

    def __init__(self) -> None:
        self.closed = 0

    def extents(self) -> Iterator[Extent]:
        return iter([Extent(0, 4096, zero=False)])

    def pread_into(self, offset: int, buffer: memoryview) -> None:
        buffer[:] = b"\1" * len(buffer)

    def close(self) -> None:
        self.closed += 1


def test_readers_share_a_connection() -> None:
    """It is opened once, survives the first that leaves, and is closed with the last; a later one opens anew."""
    opened: list[Disk] = []
    shared = SharedReader(lambda: opened.append(Disk()) or opened[-1])  # type: ignore[func-returns-value]
    first, second = shared.open(), shared.open()
    first.close()
    first.close()
    buffer = bytearray(8)
    second.pread_into(0, memoryview(buffer))
    assert (len(opened), opened[0].closed, bytes(buffer)) == (1, 0, b"\1" * 8)
    second.close()
    assert opened[0].closed == 1
    shared.open().close()
    assert len(opened) == 2


def test_shut_ends_every_reader() -> None:
    """Whoever still reads gets an error, not another disk's bytes, and nobody opens again."""
    disk = Disk()
    shared = SharedReader(lambda: disk)
    handle = shared.open()
    shared.shut()
    assert disk.closed == 1
    for attempt in (lambda: handle.pread_into(0, memoryview(bytearray(1))), handle.extents, shared.open):
        with pytest.raises(SourceUnavailable):
            attempt()
    handle.close()


def test_a_connection_that_does_not_open_leaves_nothing() -> None:
    """The next reader tries again."""

    def fail() -> Disk:
        raise SourceUnavailable("no", code="x")

    shared = SharedReader(fail)
    for _ in range(2):
        with pytest.raises(SourceUnavailable):
            shared.open()
    shared.shut()

"""Readers of a frozen disk: one connection for all of them, and changes cut from what is known to be zero."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.errors import SourceUnavailable
from adapters.port import Extent
from adapters.xen.reading import SharedReader, cut


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


@given(st.lists(st.booleans(), min_size=1, max_size=40), st.lists(st.booleans(), min_size=1, max_size=40))
def test_changes_are_split_by_what_is_zero(changed: list[bool], zero: list[bool]) -> None:
    """Every changed byte comes once, in order; it is called zero only where the extents say so, never beyond them."""
    areas = [(at, 1) for at, bit in enumerate(changed) if bit]
    extents = [Extent(at, 1, bit) for at, bit in enumerate(zero)]
    found = list(cut(areas, extents))
    told = {at: extent.zero for extent in found for at in range(extent.start, extent.end)}
    assert [at for extent in found for at in range(extent.start, extent.end)] == [at for at, _ in areas]
    assert all(told[at] == (zero[at] if at < len(zero) else False) for at in told)

"""Arithmetic of ordered extents. Pure; imports `adapters.port`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from adapters.port import Extent


def overlaps(left: Iterable[Extent], right: Iterable[Extent]) -> Iterator[Extent]:
    """Yield what both sequences cover; zero only where both say zero. Each is ordered without overlap."""
    others = iter(right)
    other = next(others, None)
    for extent in left:
        while other is not None and other.start < extent.end:
            start, end = max(extent.start, other.start), min(extent.end, other.end)
            if start < end:
                yield Extent(start, end - start, zero=extent.zero and other.zero)
            if other.end > extent.end:
                break
            other = next(others, None)


def merged(extents: Iterable[Extent]) -> Iterator[Extent]:
    """Join neighbours of one kind."""
    held: Extent | None = None
    for extent in extents:
        if held is not None and held.end == extent.start and held.zero == extent.zero:
            held = Extent(held.start, held.length + extent.length, held.zero)
            continue
        if held is not None:
            yield held
        held = extent
    if held is not None:
        yield held

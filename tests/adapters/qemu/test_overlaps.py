"""Arithmetic of extents against a byte-by-byte model."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from adapters.port import Extent
from adapters.qemu.overlaps import merged, overlaps


@st.composite
def extent_lists(draw: st.DrawFn) -> list[Extent]:
    """Ordered extents without overlap, with and without gaps."""
    cuts = sorted(draw(st.sets(st.integers(0, 60), max_size=12)))
    return [Extent(start, end - start, draw(st.booleans())) for start, end in pairwise(cuts) if draw(st.integers(0, 3))]


def as_bytes(extents: list[Extent]) -> dict[int, bool]:
    """What is said of each byte."""
    return {at: extent.zero for extent in extents for at in range(extent.start, extent.end)}


def assert_ordered(extents: list[Extent]) -> None:
    """Extents have a length, ascend and do not overlap."""
    assert all(extent.length > 0 for extent in extents)
    assert all(left.end <= right.start for left, right in pairwise(extents))


@given(extent_lists(), extent_lists())
def test_overlaps_keep_what_both_cover(left: list[Extent], right: list[Extent]) -> None:
    """A byte is covered when both cover it, and zero when both say zero."""
    found = list(overlaps(left, right))
    assert_ordered(found)
    ours, theirs = as_bytes(left), as_bytes(right)
    assert as_bytes(found) == {at: ours[at] and theirs[at] for at in ours.keys() & theirs.keys()}


@given(extent_lists())
def test_merging_changes_no_byte(extents: list[Extent]) -> None:
    """Merged extents say the same of every byte, and no neighbours are alike."""
    found = list(merged(extents))
    assert_ordered(found)
    assert as_bytes(found) == as_bytes(extents)
    assert not any(left.end == right.start and left.zero == right.zero for left, right in pairwise(found))

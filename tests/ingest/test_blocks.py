"""Extents become whole blocks, and no zero is invented."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from adapters.port import Extent
from ingest.blocks import BlockRun, block_count, block_runs

CHUNK = 8


@st.composite
def _disks(draw: st.DrawFn) -> tuple[int, list[Extent]]:
    cuts = sorted(draw(st.sets(st.integers(0, 200), min_size=2, max_size=20)))
    kinds = draw(st.lists(st.sampled_from(["data", "zero", "gap"]), min_size=len(cuts), max_size=len(cuts)))
    extents = [
        Extent(start, end - start, kind == "zero")
        for start, end, kind in zip(cuts, cuts[1:], kinds, strict=False)
        if kind != "gap"
    ]
    return cuts[-1] + draw(st.integers(0, 20)), extents


@given(_disks())
def test_each_block_is_classified_by_all_its_bytes(disk: tuple[int, list[Extent]]) -> None:
    """A block is zero only if every byte of it is in a zero extent, read if touched at all, else left alone."""
    size, extents = disk
    kind = ["gap"] * size
    for extent in extents:
        kind[extent.start : extent.end] = ["zero" if extent.zero else "data"] * extent.length
    expected = {}
    for block in range(block_count(size, CHUNK)):
        kinds = set(kind[block * CHUNK : (block + 1) * CHUNK])
        if kinds != {"gap"}:
            expected[block] = kinds == {"zero"}
    runs = list(block_runs(extents, size_bytes=size, chunk_bytes=CHUNK))
    assert {run.first + i: run.zero for run in runs for i in range(run.count)} == expected


def test_neighbours_of_one_kind_are_one_run() -> None:
    """A tracker that reports a large change in pieces costs one run, not many."""
    pieces = [Extent(start, 4, False) for start in range(0, 64, 4)]
    assert list(block_runs(pieces, size_bytes=64, chunk_bytes=CHUNK)) == [BlockRun(0, 8, False)]


def test_a_short_last_block_can_be_zero() -> None:
    """Zeros up to the end of the disk cover its last, short block."""
    assert list(block_runs([Extent(0, 12, True)], size_bytes=12, chunk_bytes=CHUNK)) == [BlockRun(0, 2, True)]

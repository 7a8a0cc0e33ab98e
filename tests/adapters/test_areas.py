"""Changed areas: whatever a server answers, nothing that changed is left out, and memory stays bounded."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.areas import Area, AreaList, Page, WrongAnswer, collect_areas, cut
from adapters.port import Extent

UNIT = 512


def server(areas: list[Area], page_bytes: int, size: int) -> Callable[[int], Page]:
    """A server that answers right: areas are cut at the ends of its pages."""

    def query(start: int) -> Page:
        length = min(page_bytes, size - start)
        inside = [(max(s, start), min(s + n, start + length)) for s, n in areas if s < start + length and s + n > start]
        return Page(start, length, [(low, high - low) for low, high in inside])

    return query


def covered(areas: list[Area], size: int) -> set[int]:
    """The sectors that areas touch."""
    return {unit for s, n in areas for unit in range(s // UNIT, (min(s + n, size) + UNIT - 1) // UNIT)}


AREAS = st.lists(st.tuples(st.integers(0, 199), st.integers(1, 30)), max_size=40)


@given(AREAS, st.integers(1, 230), st.integers(1, 200))
def test_all_areas_arrive_whatever_the_pages(units: list[tuple[int, int]], page: int, size: int) -> None:
    """Overlapping, unsorted, duplicate areas in pages of any size cover exactly what they cover, in order."""
    disk = size * UNIT
    areas = [(s * UNIT, n * UNIT) for s, n in units if s < size]
    found = list(collect_areas(server(areas, page * UNIT, disk), disk))
    assert covered(found, disk) == {unit for unit in covered(areas, disk) if unit < size}
    position = -1
    for start, length in found:
        assert start > position
        assert length > 0
        position = start + length
    assert position <= disk


@given(AREAS, st.integers(2, 12))
def test_few_areas_fit_any_number(units: list[tuple[int, int]], limit: int) -> None:
    """With too little room areas grow together: more is covered, never less, and the room is kept."""
    size = 200 << 30
    areas = [(s << 30, n << 20) for s, n in units]
    found = collect_areas(server(areas, 7 << 30, size), size, limit=limit)
    assert len(found) <= limit
    spans = [(s, s + n) for s, n in found]
    assert all(any(low <= s and s + n <= high for low, high in spans) for s, n in areas)


@pytest.mark.parametrize(
    ("size", "pages", "cause"),
    [
        (100, [Page(5, 100, [])], "tracking-answer-misplaced"),
        (100, [Page(0, 0, [])], "tracking-answer-empty"),
        (100, [Page(0, 50, []), Page(50, 0, [])], "tracking-answer-empty"),
        (100, [Page(0, 50, []), Page(0, 50, [])], "tracking-answer-misplaced"),
        (100, [Page(0, -1, [])], "tracking-answer-empty"),
        (100, [Page(0, 100, [(10, 0)])], "tracking-answer-outside"),
        (100, [Page(0, 100, [(10, -3)])], "tracking-answer-outside"),
        (100, [Page(0, 100, [(100, 10)])], "tracking-answer-outside"),
        (100, [Page(0, 100, [(1 << 60, 10)])], "tracking-answer-outside"),
        (100, [Page(0, 50, [(60, 10)])], "tracking-answer-outside"),
        (100, [Page(0, 50, [(40, 20)])], "tracking-answer-outside"),
        (100, [Page(0, 50, []), Page(50, 50, [(40, 10)])], "tracking-answer-outside"),
    ],
)
def test_wrong_answers_are_refused(size: int, pages: list[Page], cause: str) -> None:
    """A wrong echo, no progress and areas out of place are errors with their cause, and no endless loop."""
    answers = iter(pages)
    with pytest.raises(WrongAnswer) as caught:
        collect_areas(lambda _: next(answers), size)
    assert caught.value.cause == cause


@pytest.mark.parametrize("page", [Page(0, 100, [(90, 10)]), Page(0, 128, [(90, 38)]), Page(0, 1 << 62, [(90, 200)])])
def test_an_answer_beyond_the_end_is_cut(page: Page) -> None:
    """A server that rounds up past the capacity ends the walk, and its last area ends with the disk."""
    assert list(collect_areas(lambda _: page, 100)) == [(90, 10)]


def test_neighbours_are_one() -> None:
    """Areas that touch are one, across pages, too."""
    assert list(collect_areas(server([(0, 512), (512, 512), (1024, 1024)], 1024, 4096), 4096)) == [(0, 2048)]


def test_sectors_at_the_tail_are_kept() -> None:
    """A disk that is no multiple of the tracking's unit keeps its last 512 bytes."""
    size = (1 << 20) + 512
    assert list(collect_areas(server([(1 << 20, 512)], 1 << 18, size), size)) == [(1 << 20, 512)]


def test_no_disk_no_question() -> None:
    """A disk of no bytes is not asked for."""
    assert not len(collect_areas(lambda _: pytest.fail("asked"), 0))


def test_a_million_areas_take_little_memory() -> None:
    """A million areas in a thousand pages are kept in 16 bytes each and a page besides."""
    count, stride = 1_000_000, 131072
    size = count * stride

    def query(start: int) -> Page:
        length = min(1000 * stride, size - start)
        return Page(start, length, ((at, 65536) for at in range(start, start + length, stride)))

    tracemalloc.start()
    try:
        found = collect_areas(query, size)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(found) == count
    assert found.covered_bytes == count * 65536
    assert peak < 40 << 20


def test_more_than_fits_is_joined_across_gaps() -> None:
    """Joined areas cover all that was reported."""
    found = AreaList(limit=100)
    for at in range(10_000):
        found.add(at << 20, (at << 20) + 65536)
    assert len(found) <= 100
    assert found.covered_bytes >= 10_000 * 65536
    assert next(iter(found))[0] == 0


@given(st.lists(st.booleans(), min_size=1, max_size=40), st.lists(st.booleans(), min_size=1, max_size=40))
def test_changes_are_split_by_what_is_zero(changed: list[bool], zero: list[bool]) -> None:
    """Every changed byte comes once, in order; it is called zero only where the extents say so, never beyond them."""
    areas = [(at, 1) for at, bit in enumerate(changed) if bit]
    extents = [Extent(at, 1, bit) for at, bit in enumerate(zero)]
    found = list(cut(areas, extents))
    told = {at: extent.zero for extent in found for at in range(extent.start, extent.end)}
    assert [at for extent in found for at in range(extent.start, extent.end)] == [at for at, _ in areas]
    assert all(told[at] == (zero[at] if at < len(zero) else False) for at in told)

"""Change lists of Hyper-V: whatever the host's pieces look like, nothing that changed is left out."""

from __future__ import annotations

import tracemalloc
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.errors import SourceConflict, SourceDenied, SourceInvalid, SourceUnavailable
from adapters.hyperv.changes import changed_areas
from adapters.hyperv.facts import ChangePage
from adapters.port import Tracked, Untracked

Ranges = list[tuple[int, int]]


class Host:
    """Answers from a list of ranges, at most `most` bytes a time; `whole` leaves ranges as they reach over an end."""

    def __init__(self, ranges: Ranges, most: int, *, whole: bool = False) -> None:
        self.ranges = ranges
        self.most = most
        self.whole = whole
        self.asked: list[tuple[int, int]] = []

    def __call__(self, offset: int, length: int) -> ChangePage:
        self.asked.append((offset, length))
        end = offset + min(length, self.most)
        inside = [(s, n) for s, n in self.ranges if s < end and s + n > offset]
        if not self.whole:
            inside = [(max(s, offset), min(s + n, end) - max(s, offset)) for s, n in inside]
        return ChangePage(end - offset, tuple(inside))


def bytes_of(ranges: Ranges, size: int) -> set[int]:
    """The bytes that ranges touch."""
    return {at for s, n in ranges for at in range(s, min(s + n, size))}


@given(
    st.lists(st.tuples(st.integers(0, 299), st.integers(1, 60)), max_size=30),
    st.integers(1, 320),
    st.integers(1, 300),
    st.booleans(),
)
def test_every_changed_byte_arrives(ranges: Ranges, most: int, size: int, whole: bool) -> None:
    """Unsorted, overlapping ranges in pieces smaller than asked for cover what changed, in order, within the disk."""
    ranges = [(s, n) for s, n in ranges if s < size]
    host = Host(ranges, most, whole=whole)
    tracking, found = changed_areas(host, size)
    assert tracking == Tracked()
    areas = list(found)
    assert bytes_of(areas, size) == bytes_of(ranges, size)
    assert all(a[0] + a[1] < b[0] for a, b in pairwise(areas))
    assert all(s >= 0 and n > 0 and s + n <= size for s, n in areas)
    assert host.asked == [(at, size - at) for at in range(0, size, most)]


def test_no_ranges_are_no_changes() -> None:
    """A piece without ranges is an answer, and the rest is asked for all the same."""
    host = Host([], 100)
    assert [*changed_areas(host, 1000)[1]] == []
    assert len(host.asked) == 10


@pytest.mark.parametrize(
    ("page", "cause"),
    [
        (ChangePage(0, ()), "tracking-answer-empty"),
        (ChangePage(-1, ((0, 5),)), "tracking-answer-empty"),
        (ChangePage(500, ((100, 0),)), "tracking-answer-outside"),
        (ChangePage(500, ((100, -5),)), "tracking-answer-outside"),
        (ChangePage(500, ((500, 5),)), "tracking-answer-outside"),
        (ChangePage(500, ((-5, 5),)), "tracking-answer-outside"),
        (ChangePage(500, ((-5, 50),)), "tracking-answer-outside"),
    ],
)
def test_an_answer_against_the_rules_costs_a_full(page: ChangePage, cause: str) -> None:
    """No progress and ranges out of place are never used, and never asked for without end."""
    tracking, found = changed_areas(lambda offset, length: page, 1000)
    assert tracking == Untracked(cause)
    assert len(found) == 0


def test_offsets_that_count_from_the_question_are_found_out() -> None:
    """A host that counts from where it was asked would lose changes: its second piece shows it."""
    tracking, _ = changed_areas(lambda offset, length: ChangePage(500, ((100, 50),)), 1000)
    assert tracking == Untracked("tracking-answer-outside")


@pytest.mark.parametrize("error", [SourceInvalid, SourceConflict, SourceDenied])
def test_a_refusal_in_the_middle_costs_a_full(error: type[SourceInvalid]) -> None:
    """Part of a list is no list."""

    def ask(offset: int, length: int) -> ChangePage:
        if offset:
            raise error("no", code="no")
        return ChangePage(500, ((100, 50),))

    tracking, found = changed_areas(ask, 1000)
    assert tracking == Untracked("tracking-refused")
    assert len(found) == 0


def test_a_lost_connection_is_no_refusal() -> None:
    """The backup fails and is tried again; a full would not help."""

    def ask(offset: int, length: int) -> ChangePage:
        raise SourceUnavailable("gone", code="gone")

    with pytest.raises(SourceUnavailable):
        changed_areas(ask, 1000)


def test_a_million_ranges_fit() -> None:
    """They are kept in 16 bytes each, whatever the pieces."""
    stride, page = 1 << 20, 4096

    def ask(offset: int, length: int) -> ChangePage:
        return ChangePage(min(length, page * stride), tuple((offset + at * stride, 65536) for at in range(page)))

    tracemalloc.start()
    try:
        _, found = changed_areas(ask, (1_000_000 // page) * page * stride)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(found) == (1_000_000 // page) * page
    assert peak < 64 << 20


def test_a_host_that_refuses_to_tell_of_a_whole_disk() -> None:
    """All but the last sector is asked for then, and the last sector by itself; what changed there is not missed."""
    size = 1 << 20
    host = Host([(0, 5), (size - 3, 3)], size)

    def refusing(offset: int, length: int) -> ChangePage:
        if length == size:
            raise SourceConflict("refused", code="changes-unknown")
        return host(offset, length)

    tracking, found = changed_areas(refusing, size)
    assert tracking == Tracked()
    assert bytes_of(list(found), size) == {*range(5), *range(size - 3, size)}
    assert host.asked == [(0, size - 4096), (size - 4096, 4096)]

"""Tests of the changed extents that are gone through more than once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from adapters.port import Extent
from ingest.changes import KeptChanges

EXTENTS = [Extent(start, 10, zero=False) for start in range(0, 100, 20)]


class Asked:
    """Gives the extents, and counts how often it was asked."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> Iterator[Extent]:
        self.times += 1
        return iter(EXTENTS)


@pytest.mark.parametrize(("at_most", "times"), [(5, 1), (4, 2)])
def test_every_pass_gives_all_and_only_many_are_asked_for_again(at_most: int, times: int) -> None:
    """What fits is asked for once, what does not is asked for again, and each pass gives everything."""
    asked = Asked()
    changes = KeptChanges(asked, at_most=at_most)
    assert [list(changes), list(changes)] == [EXTENTS, EXTENTS]
    assert asked.times == times


def test_a_pass_that_was_left_early_is_not_kept() -> None:
    """A pass that stopped in the middle cannot make the next one incomplete."""
    changes = KeptChanges(Asked())
    next(iter(changes))
    assert list(changes) == EXTENTS

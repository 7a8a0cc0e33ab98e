"""Several pieces of work at once: bounded, each outcome told, faults not lost."""

from __future__ import annotations

import threading

import pytest

from ingest.sidebyside import side_by_side


def never() -> bool:
    """Do not stop."""
    return False


@pytest.mark.parametrize("at_most", [1, 3, 50])
def test_every_item_has_its_outcome(at_most: int) -> None:
    """However many at once, each item is worked on once, and its outcome is told with its place."""
    found = dict(side_by_side(range(20), lambda item: item * 2, at_most=at_most, stop=never))
    assert found == {place: place * 2 for place in range(20)}


def test_as_many_at_once_as_allowed_and_no_more() -> None:
    """Four work at the same moment, and a fifth waits."""
    together, lock = threading.Barrier(4, timeout=30), threading.Lock()
    at_work, most = 0, 0

    def work(_item: int) -> None:
        nonlocal at_work, most
        with lock:
            at_work += 1
            most = max(most, at_work)
        together.wait()
        with lock:
            at_work -= 1

    list(side_by_side(range(8), work, at_most=4, stop=never))
    assert most == 4


def test_one_at_a_time_needs_no_thread() -> None:
    """Work stays in the caller's thread, where an interrupt reaches it."""
    names = [name for _, name in side_by_side("ab", lambda _: threading.current_thread(), at_most=1, stop=never)]
    assert set(names) == {threading.current_thread()}


@pytest.mark.parametrize("at_most", [1, 2])
def test_nothing_is_begun_once_it_is_time_to_stop(at_most: int) -> None:
    """What was begun has an outcome, the rest is not begun."""
    begun: list[int] = []

    def work(item: int) -> int:
        begun.append(item)
        return item

    found = dict(side_by_side(range(100), work, at_most=at_most, stop=lambda: len(begun) >= 5))
    assert sorted(found) == sorted(begun)
    assert 5 <= len(begun) < 100


@pytest.mark.parametrize("at_most", [1, 4])
def test_a_fault_comes_out(at_most: int) -> None:
    """A fault of ours is raised where the outcomes are waited for, and no further item is begun after it."""
    done = []

    def work(item: int) -> int:
        if item == 3:
            raise ZeroDivisionError
        done.append(item)
        return item

    with pytest.raises(ZeroDivisionError):
        list(side_by_side(range(1000), work, at_most=at_most, stop=never))
    assert len(done) < 1000

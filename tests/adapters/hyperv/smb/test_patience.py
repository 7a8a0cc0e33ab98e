"""A lost connection is borne for as long as patience says, and nothing else is repeated."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from adapters.errors import SourceDenied
from adapters.hyperv.smb.faults import LinkLost
from adapters.hyperv.smb.patience import Patience


class Clock:
    """A clock that moves when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def patience(self, seconds: float) -> Patience:
        return Patience(seconds, lambda: self.now, self.sleep)


def failing(times: int, error: Exception) -> Callable[[], str]:
    """Something that fails so often before it is done."""
    left = [error] * times

    def act() -> str:
        if left:
            raise left.pop()
        return "done"

    return act


def test_the_first_repetition_is_at_once_and_later_ones_wait() -> None:
    """A single loss costs no time; pauses grow up to eight seconds."""
    clock = Clock()
    assert clock.patience(600).until_done(failing(9, LinkLost("lost", code="smb-lost"))) == "done"
    assert clock.slept == [0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0]


def test_patience_ends_with_the_loss() -> None:
    """Past its end the loss itself comes out; without patience, after one more try."""
    clock = Clock()
    lost = LinkLost("lost", code="smb-lost")
    with pytest.raises(LinkLost) as raised:
        clock.patience(10).until_done(failing(99, lost))
    assert raised.value is lost
    assert sum(clock.slept) <= 10
    assert clock.patience(0).until_done(failing(1, lost)) == "done"
    with pytest.raises(LinkLost):
        clock.patience(0).until_done(failing(2, lost))


def test_only_losses_are_repeated() -> None:
    """Any other error comes out at once."""
    clock = Clock()
    with pytest.raises(SourceDenied):
        clock.patience(600).until_done(failing(1, SourceDenied("no", code="smb-denied")))
    assert clock.slept == []

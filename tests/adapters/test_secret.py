"""A secret is shown by nothing but `reveal`."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import pytest

from adapters.secret import Secret


def test_a_secret_is_read_at_each_use() -> None:
    """A rotated password is the one that the next login uses."""
    values = iter(["old", "new"])
    secret = Secret(lambda: next(values))
    assert [secret.reveal(), secret.reveal()] == ["old", "new"]


def test_a_secret_shows_nothing() -> None:
    """Neither repr, str nor format give it away, in a container neither."""
    secret = Secret(lambda: "swordfish")
    assert {repr(secret), str(secret), f"{secret}", repr([secret])[1:-1]} == {"Secret(***)"}


@pytest.mark.parametrize("leave", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_secret_stays_in_its_process(leave: Callable[[Secret], object]) -> None:
    """It cannot be pickled or copied."""
    with pytest.raises(TypeError, match="does not leave"):
        leave(Secret(lambda: "swordfish"))

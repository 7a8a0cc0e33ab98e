"""Waiting for something that another process does, with an end."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(look: Callable[[], T | None], what: str, *, seconds: float = 120.0) -> T:
    """Call `look` until it returns something true; fail when that takes too long."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.01)
    return found


def at_last(do: Callable[[], T], failure: type[Exception], what: str, *, seconds: float = 60.0) -> T:
    """Call `do` until it does not raise `failure`; for what has too little patience for a busy machine on purpose."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return do()
        except failure:
            assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
            time.sleep(0.01)

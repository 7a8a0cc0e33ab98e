"""SIGINT and SIGTERM ask long work to stop; a second one ends it at once. So may others: work asks a function.

Imports the standard library only.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Interrupted(Exception):
    """The work was asked to stop, and ended early; what it had stored is kept, and the next run reuses it."""


def never() -> bool:
    """Do not stop."""
    return False


def go_on(stop: Callable[[], bool]) -> None:
    """Raise Interrupted when it is time to stop."""
    if stop():
        raise Interrupted


@contextmanager
def stop_on_signals() -> Iterator[Callable[[], bool]]:
    """Give a function that says whether to stop; the handlers before are put back afterwards."""
    asked = threading.Event()

    def ask(number: int, _frame: object) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

"""Work on several things at once, in a bounded number of threads; outcomes come to the caller as they are ready.

Imports the standard library only. With one at a time no thread is made. The threads do not keep a process alive: a
second interrupt ends it at once, and what they were at is cleaned up as after any death.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from queue import SimpleQueue
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


def side_by_side(
    items: Sequence[T], work: Callable[[T], R], *, at_most: int, stop: Callable[[], bool]
) -> Iterator[tuple[int, R]]:
    """Yield (place in `items`, outcome) of each item that was begun. None is begun once `stop` says so.

    What `work` raises is a fault: it is raised here, once everything that was begun has ended.
    """
    if at_most == 1:
        for place, item in enumerate(items):
            if stop():
                return
            yield place, work(item)
    else:
        yield from _Threads(items, work, stop).outcomes(min(at_most, len(items)))


class _Threads(Generic[T, R]):
    """Threads that take items in order until there are none, or until one of them met a fault."""

    def __init__(self, items: Sequence[T], work: Callable[[T], R], stop: Callable[[], bool]) -> None:
        self._todo = iter(enumerate(items))
        self._work = work
        self._stop = stop
        self._lock = threading.Lock()
        self._ready: SimpleQueue[tuple[int, R] | None] = SimpleQueue()
        self._faults: list[BaseException] = []

    def outcomes(self, threads: int) -> Iterator[tuple[int, R]]:
        for number in range(threads):
            threading.Thread(target=self._run, name=f"holdfast-side-{number}", daemon=True).start()
        running = threads
        while running:
            outcome = self._ready.get()
            if outcome is None:
                running -= 1
            else:
                yield outcome
        if self._faults:
            raise self._faults[0]

    def _run(self) -> None:
        try:
            while (following := self._next()) is not None:
                self._ready.put((following[0], self._work(following[1])))
        except BaseException as fault:  # noqa: BLE001 - it is raised where the outcomes are waited for
            self._faults.append(fault)
        finally:
            self._ready.put(None)

    def _next(self) -> tuple[int, T] | None:
        with self._lock:
            return None if self._faults or self._stop() else next(self._todo, None)

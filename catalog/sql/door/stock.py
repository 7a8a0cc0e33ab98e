"""Workers made ahead, so that a question does not wait for one. Imports this package.

One is blank: bound, knowing nothing. Others have their tables already: each question leaves one behind for the next
that enters the same way. At most `spares` of them are kept, the newest.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections import deque
from collections.abc import Callable

from catalog.sql.door.spawn import Worker
from catalog.sql.entrance import Entrance
from storage.errors import HoldfastError


class Stock:
    """Spares, kept by a thread of its own."""

    def __init__(self, fork: Callable[[], Worker], enter: Callable[[Worker, Entrance], None], spares: int) -> None:
        self._fork = fork
        self._enter = enter
        self._spares = spares
        self._lock = threading.Lock()
        self._blank: Worker | None = None
        self._primed: deque[tuple[str, Worker]] = deque()
        self._wanted: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._keeper = threading.Thread(target=self._keep, name="sql-door-stock", daemon=True)

    def open(self) -> None:
        """Begin to make spares."""
        self._keeper.start()
        self._want(self._make_blank)

    def close(self) -> None:
        """End all spares."""
        self._wanted.put(None)
        self._keeper.join()
        for worker in [self._blank, *(worker for _, worker in self._primed)]:
            if worker is not None:
                worker.discard()

    def take(self, key: str) -> tuple[Worker | None, bool]:
        """A spare, and whether it has the tables of `key`."""
        with self._lock:
            for spare in [each for each in self._primed if each[0] == key]:
                self._primed.remove(spare)
                if spare[1].alive():
                    return spare[1], True
                spare[1].discard()
            worker, self._blank = self._blank, None
        if worker is not None and not worker.alive():
            worker.discard()
            worker = None
        return worker, False

    def replace(self, entrance: Entrance) -> None:
        """Make what a question that entered this way has used up; soon, and not in the caller's time."""
        self._want(lambda: self._make_primed(entrance))
        self._want(self._make_blank)

    def _want(self, make: Callable[[], None]) -> None:
        if self._spares:
            self._wanted.put(make)

    def _keep(self) -> None:
        while (make := self._wanted.get()) is not None:
            # What prevents a spare prevents the next question too, which tells its caller.
            with contextlib.suppress(HoldfastError, OSError):
                make()

    def _make_blank(self) -> None:
        if self._blank is not None:
            return
        worker = self._fork()
        with self._lock:
            self._blank = worker

    def _make_primed(self, entrance: Entrance) -> None:
        worker = self._fork()
        try:
            self._enter(worker, entrance)
        except BaseException:
            worker.discard()
            raise
        with self._lock:
            self._primed.append((entrance.key, worker))
            old = self._primed.popleft()[1] if len(self._primed) > self._spares else None
        if old is not None:
            old.discard()

"""The door as the service sees it: ask a question about what an entrance lets in, get bytes.

Imports this package, `catalog.sql.entrance` and `storage.errors`. Every statement has a worker of its own, which is
ended with its answer, whatever became of it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from catalog.sql.door.answer import SqlAnswer, SqlQuestion, ready
from catalog.sql.door.descriptors import Descriptors
from catalog.sql.door.layers import Layer, missing
from catalog.sql.door.platform import unsupported
from catalog.sql.door.spawn import Worker, Zygote
from catalog.sql.door.stock import Stock
from catalog.sql.entrance import Entrance
from storage.errors import Limit, Unavailable

MIB = 1 << 20
NOTHING = Entrance((), (), 0, "")
"""What a worker enters with that is only asked which layers hold."""


@dataclass(frozen=True, slots=True)
class DoorLimits:
    """What no question may go beyond; `workers` is how many are answered at once, `threads` those of each."""

    workers: int = 4
    threads: int = 2
    seconds: float = 300.0
    memory_bytes: int = 1024 * MIB
    row_limit: int = 1_000_000_000
    byte_limit: int = 64 * 1024 * MIB


class SqlDoor:
    """Open it with `with`; leaving the block ends every worker. One value is used from many threads.

    `spares` workers are kept ready, none for a process that asks once.
    """

    def __init__(self, limits: DoorLimits, spares: int = 2, *, new_zygote: Callable[[], Zygote] = Zygote) -> None:
        self.limits = limits
        self._new_zygote = new_zygote
        self._lock = threading.Lock()
        self._zygote: Zygote | None = None
        self._answering: set[SqlAnswer] = set()
        self._closed = False
        self._stock = Stock(self._fork, self._enter, spares)

    def __enter__(self) -> Self:
        if why := unsupported():
            raise Unavailable("there is no SQL door on this system", code="sql-door", why=why)
        self._zygote = self._new_zygote()
        self._stock.open()
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._closed = True
            answering = list(self._answering)
        for answer in answering:
            answer.close()
        self._stock.close()
        if self._zygote is not None:
            self._zygote.close()

    def missing(self) -> list[str]:
        """Name the layers that do not hold here. Raises Unavailable when too few do for the door to open."""
        worker = self._fork()
        try:
            self._enter(worker, NOTHING)
            return list(missing({Layer(name) for name in ready(worker).layers}))
        finally:
            worker.discard()

    def ask(self, question: SqlQuestion, entrance: Entrance) -> SqlAnswer:
        """Begin the answer; returns when the statement runs.

        Raises Invalid (sql-...) for the statement; Limit for what it costs, or sql-busy; Corrupt (index-file);
        Unavailable (sql-door). Reading the answer raises the same.
        """
        self._check(question)
        answer = self._admitted(question)
        try:
            worker, primed = self._stock.take(entrance.key)
            worker = worker or self._fork()
            answer.begin(worker)
            if not primed:
                self._enter(worker, entrance)
            answer.ask()
        except BaseException:
            answer.close()
            raise
        finally:
            self._stock.replace(entrance)
        return answer

    def _check(self, question: SqlQuestion) -> None:
        for name in ("seconds", "memory_bytes", "row_limit", "byte_limit"):
            asked, most = getattr(question, name), getattr(self.limits, name)
            if not 0 < asked <= most:
                raise Limit(f"{name} of {asked} is not possible", code="sql-limit", hint=f"at most {most}")

    def _admitted(self, question: SqlQuestion) -> SqlAnswer:
        with self._lock:
            if self._closed or len(self._answering) >= self.limits.workers:
                raise Limit(
                    f"{self.limits.workers} statements are being answered", code="sql-busy", hint="ask again soon"
                )
            answer = SqlAnswer(question, self._release)
            self._answering.add(answer)
            return answer

    def _release(self, answer: SqlAnswer) -> None:
        with self._lock:
            self._answering.discard(answer)

    def _fork(self) -> Worker:
        """A new worker; of a new zygote when the last one died."""
        with self._lock:
            if self._zygote is None or not self._zygote.alive():
                if self._zygote is not None:
                    self._zygote.close()
                self._zygote = self._new_zygote()
            zygote = self._zygote
        return zygote.fork()

    def _enter(self, worker: Worker, entrance: Entrance) -> None:
        with Descriptors(entrance) as opened:
            try:
                worker.enter(opened.message(self.limits.threads), opened.numbers)
            except OSError as error:
                raise Unavailable("the query's process ended", code="sql-door", why=str(error)) from error

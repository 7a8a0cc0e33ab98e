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
from catalog.sql.door.layers import UNSEALED, Layer, missing
from catalog.sql.door.platform import unsupported
from catalog.sql.door.spawn import Worker, Zygote
from catalog.sql.door.stock import Stock
from catalog.sql.entrance import Entrance
from storage.errors import Invalid, Limit, Unavailable

MIB = 1 << 20
MAX_QUERY_BYTES = 400_000
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
            raise Unavailable("there is no SQL door on this system", code=UNSEALED, why=why)
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
        """Begin the answer; returns when the statement is understood, and runs on while it is read.

        Raises Invalid (sql-...) for the statement; Limit for what it costs, or sql-busy; Corrupt (index-file);
        Unavailable (sql-door, sql-unsealed). Reading raises the same: read a piece before promising an answer.
        """
        self._check(question)
        answer = self._admitted(question)
        try:
            if not self._with_spare(answer, entrance):
                self._with_worker(answer, entrance, self._fork())
            answer.ask()
        except BaseException:
            answer.close()
            raise
        finally:
            self._stock.replace(entrance)
        return answer

    def _with_spare(self, answer: SqlAnswer, entrance: Entrance) -> bool:
        """Take a spare, if there is one and it is well: one may have died with its zygote this moment."""
        worker, primed = self._stock.take(entrance.key)
        if worker is None:
            return False
        try:
            self._with_worker(answer, entrance, worker, primed=primed)
        except Unavailable:
            worker.discard()
            return False
        return True

    def _with_worker(self, answer: SqlAnswer, entrance: Entrance, worker: Worker, *, primed: bool = False) -> None:
        answer.begin(worker)
        if not primed:
            try:
                self._enter(worker, entrance)
            except Unavailable as error:
                raise answer.lost(error) from error
        answer.wait_ready()

    def _check(self, question: SqlQuestion) -> None:
        try:
            length = len(question.query.encode())
        except UnicodeEncodeError as error:
            raise Invalid("the statement is not text", code="sql-syntax", why=str(error)) from error
        if length > MAX_QUERY_BYTES:
            raise Limit(f"a statement of {length} bytes is too long", code="sql-length")
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
        """A new worker; of a new zygote when the last one died, or dies in this moment."""
        zygote = self._living_zygote(None)
        try:
            return zygote.fork()
        except Unavailable:
            return self._living_zygote(zygote).fork()

    def _living_zygote(self, dead: Zygote | None) -> Zygote:
        """The zygote, made anew when it ended or is the one that is `dead`."""
        with self._lock:
            if self._zygote is None or self._zygote is dead or not self._zygote.alive():
                if self._zygote is not None:
                    self._zygote.close()
                self._zygote = self._new_zygote()
            return self._zygote

    def _enter(self, worker: Worker, entrance: Entrance) -> None:
        with Descriptors(entrance) as opened:
            try:
                worker.enter(opened.message(self.limits.threads), opened.numbers)
            except OSError as error:
                raise Unavailable("the query's process ended", code="sql-door", why=str(error)) from error

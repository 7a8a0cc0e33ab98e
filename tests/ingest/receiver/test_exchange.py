"""Questions and answers between threads: asked until answered, at their pace, and waited for no longer than allowed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from adapters.errors import AdapterError, SourceUnavailable
from ingest.agent import protocol as said
from ingest.agent.frames import encode_frame
from ingest.receiver.exchange import Exchange
from ingest.receiver.limits import Limits

RUN, KEY = UUID(int=1), bytes(32)
LIMITS = replace(Limits(), pace=0.0)


class Asking(threading.Thread):
    """A thread that asks; `result` is what came of it."""

    def __init__(self, ask: Callable[[], Any]) -> None:
        super().__init__()
        self._ask = ask
        self.result: Any = None
        self.start()

    def run(self) -> None:
        try:
            self.result = self._ask()
        except AdapterError as error:
            self.result = error

    def joined(self) -> Any:
        self.join(30)
        assert not self.is_alive()
        return self.result


def _exchange(**limits: float) -> Exchange:
    return Exchange(RUN, KEY, replace(LIMITS, **limits))


def _frame(number: int, plain: bytes) -> bytes:
    return encode_frame(KEY, RUN, number, memoryview(plain))


def test_a_question_stays_until_it_is_answered() -> None:
    """A poll that got lost is repeated and brings the question again; once answered it does not come back."""
    exchange = _exchange()
    asking = Asking(lambda: exchange.fetch("vda", 0, 4, copy=False))
    (question,) = exchange.questions(0, 10)
    assert exchange.questions(0, 10) == (question,)
    assert exchange.questions(question.number, 0) == ()
    exchange.answer_frame(question.number, _frame(question.number, b"data"))
    assert asking.joined() == b"data"
    assert exchange.questions(0, 0) == ()


def test_threads_get_their_own_answers() -> None:
    """Answers in another order than the questions reach who asked."""
    exchange = _exchange()
    asking = [Asking(lambda at=at: exchange.fetch("vda", at, 4, copy=False)) for at in range(5)]
    questions: dict[int, said.AskBytes] = {}
    while len(questions) < 5:
        questions.update((one.number, one) for one in exchange.questions(0, 10) if isinstance(one, said.AskBytes))
    for number, question in sorted(questions.items(), reverse=True):
        exchange.answer_frame(number, _frame(number, b"%04d" % question.offset))
    assert [one.joined() for one in asking] == [b"%04d" % at for at in range(5)]


def test_a_thread_asks_at_its_pace() -> None:
    """The next question of a thread is not shown before its time, whatever the thread did meanwhile."""
    exchange = _exchange(pace=0.4)

    def twice() -> None:
        for _ in range(2):
            exchange.fetch("vda", 0, 4, copy=False)

    asking = Asking(twice)
    (first,) = exchange.questions(0, 10)
    taken = time.monotonic()
    exchange.answer_frame(first.number, _frame(first.number, b"data"))
    (second,) = exchange.questions(first.number, 10)
    assert time.monotonic() - taken >= 0.4
    exchange.answer_frame(second.number, _frame(second.number, b"data"))
    asking.joined()


def test_the_end_reaches_everybody() -> None:
    """When it is over, who waits and who comes later get the reason, and polls come back empty at once."""
    exchange = _exchange()
    asking = [Asking(lambda: exchange.fetch("vda", 0, 4, copy=False)) for _ in range(3)]
    exchange.questions(0, 10)
    why = SourceUnavailable("over", code="test-over")
    exchange.end(why)
    exchange.end(SourceUnavailable("later", code="test-later"))
    assert [one.joined() for one in asking] == [why] * 3
    with pytest.raises(SourceUnavailable, match="over"):
        exchange.ask(said.Released, lambda number: said.AskRelease(number=number, committed=True))
    assert exchange.questions(0, 1000) == ()
    assert exchange.over


def test_silence_ends_it() -> None:
    """An agent that is not heard of for the idle time is given up by who waits for it."""
    exchange = _exchange(idle=0.2)
    found = Asking(lambda: exchange.fetch("vda", 0, 4, copy=False)).joined()
    assert isinstance(found, SourceUnavailable)
    assert found.code == "agent-silent"

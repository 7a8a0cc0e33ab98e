"""Questions to one agent and its answers: threads of the backup ask and wait, requests of the agent poll and answer.

Imports `adapters.errors` and `ingest.agent`. Nothing is pushed: what waits is bounded by the threads that ask. A
question stays until it is answered, so whatever a connection loses is asked again, and an answer counts once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic as system_monotonic
from typing import TypeVar
from uuid import UUID

from adapters.errors import AdapterError, SourceConflict, SourceInvalid, SourceUnavailable
from ingest.agent.frames import decode_frame
from ingest.agent.protocol import Answer, AskBytes, Copied, Failed, Question
from ingest.receiver.failures import failure_of
from ingest.receiver.limits import Limits
from storage.errors import Conflict

A = TypeVar("A", bound=Answer)


@dataclass(slots=True)
class _Waiting:
    """A question that somebody waits on; shown to the agent from `shown_from` on."""

    question: Question
    deadline: float
    shown_from: float
    answer: Answer | bytes | None = None


class Exchange:
    """One run's; safe from many threads."""

    def __init__(
        self, run_id: UUID, key: bytes, limits: Limits, monotonic: Callable[[], float] = system_monotonic
    ) -> None:
        self._run_id = run_id
        self._key = key
        self._limits = limits
        self._monotonic = monotonic
        self._changed = threading.Condition()
        self._waiting: dict[int, _Waiting] = {}
        self._last = 0
        self._heard_at = monotonic()
        self._over: AdapterError | None = None
        self._paced = threading.local()
        self.last_frame_at = monotonic()

    @property
    def over(self) -> bool:
        """Whether nothing can be asked any more."""
        with self._changed:
            return self._over is not None or self._silent()

    def end(self, why: AdapterError) -> None:
        """Ask nothing more; whoever waits gets `why`."""
        with self._changed:
            self._over = self._over or why
            self._changed.notify_all()

    def ask(self, kind: type[A], build: Callable[[int], Question]) -> A:
        """Ask what is answered with a `kind`. Raises what the agent says, and SourceUnavailable when it is silent."""
        answer = self._asked(build, self._monotonic())
        if not isinstance(answer, kind):
            raise SourceInvalid("The agent answered something else", code="agent-answer")
        return answer

    def fetch(self, disk: str, offset: int, length: int, *, copy: bool) -> bytes | Copied:
        """Have the agent send bytes, or say where its base has them; each thread asks at a pace of its own."""

        def build(number: int) -> Question:
            return AskBytes(number=number, disk=disk, offset=offset, length=length, copy=copy)

        due = getattr(self._paced, "due", 0.0)
        answer = self._asked(build, due)
        if not isinstance(answer, bytes) and not (copy and isinstance(answer, Copied)):
            raise SourceInvalid("The agent answered something else", code="agent-answer")
        self._paced.due = self._monotonic() + self._limits.pace
        self.last_frame_at = self._monotonic()
        return answer

    def questions(self, after: int, wait: float) -> tuple[Question, ...]:
        """What is not answered of the questions behind number `after`; waits up to `wait` seconds for one."""
        until = self._monotonic() + wait
        with self._changed:
            while True:
                now = self._monotonic()
                self._heard_at = now
                found = [one for number, one in self._waiting.items() if number > after]
                shown = tuple(one.question for one in found if one.answer is None and one.shown_from <= now)
                if shown or self._over is not None or now >= until:
                    return shown
                self._changed.wait(min([until, *(one.shown_from for one in found if one.answer is None)]) - now)

    def answer(self, number: int, answer: Answer) -> None:
        """Take an answer; one that was taken before changes nothing. Raises Conflict for what was never asked."""
        if isinstance(answer, Failed):
            # Whoever waits is told by the end of the exchange, not by this answer.
            self._take(number, None)
            self.end(failure_of(answer))
        else:
            self._take(number, answer)

    def answer_frame(self, number: int, body: bytes) -> None:
        """Take a frame. Raises Invalid `frame-damaged`: then it can be sent again."""
        with self._changed:
            asked = self._waiting.get(number)
        if asked is None or not isinstance(asked.question, AskBytes):
            self._take(number, None)
            return
        self._take(number, decode_frame(self._key, self._run_id, number, body, asked.question.length))

    def _take(self, number: int, answer: Answer | bytes | None) -> None:
        with self._changed:
            self._heard_at = self._monotonic()
            if number > self._last:
                raise Conflict(f"question {number} was not asked", code="agent-unasked")
            asked = self._waiting.get(number)
            if asked is not None and asked.answer is None and answer is not None:
                asked.answer = answer
                self._changed.notify_all()

    def _asked(self, build: Callable[[int], Question], shown_from: float) -> Answer | bytes:
        with self._changed:
            self._raise_if_over()
            self._last += 1
            number = self._last
            now = self._monotonic()
            asked = _Waiting(build(number), now + self._limits.answer, shown_from)
            self._waiting[number] = asked
            self._changed.notify_all()
            try:
                while asked.answer is None:
                    self._raise_if_over()
                    self._raise_if_late(asked)
                    left = min(asked.deadline, self._heard_at + self._limits.idle) - self._monotonic()
                    self._changed.wait(max(left, 0.01))
                return asked.answer
            finally:
                del self._waiting[number]

    def _silent(self) -> bool:
        return self._monotonic() - self._heard_at >= self._limits.idle

    def _raise_if_over(self) -> None:
        if self._over is None and self._silent():
            self._over = SourceUnavailable(
                "The agent fell silent",
                code="agent-silent",
                why=f"nothing came from it for {self._limits.idle:.0f} s",
                hint="The next run of the agent begins anew.",
            )
            self._changed.notify_all()
        if self._over is not None:
            raise self._over

    def _raise_if_late(self, asked: _Waiting) -> None:
        if self._monotonic() >= asked.deadline:
            self._over = SourceUnavailable(
                "The agent did not answer in time",
                code="agent-late",
                why=f"a question waited for {self._limits.answer:.0f} s",
            )
            self._changed.notify_all()
            raise self._over


def superseded() -> SourceConflict:
    """Another process of the agent took the place of the one that asked for the run."""
    return SourceConflict("Another agent process took over", code="agent-replaced")

"""One answer as the service reads it from a worker that it does not trust. Imports this package and `storage.errors`.

Bytes are counted here, time is kept here, and whatever the worker says is checked for its form.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Self, TypeVar

import msgspec

from catalog.answers import AnswerFormat
from catalog.sql.door import wire
from catalog.sql.door.spawn import Worker
from catalog.sql.door.wire import AnswerColumn, Kind
from storage.errors import Corrupt, HoldfastError, Invalid, Limit, Unavailable

MIB = 1 << 20
KINDS: dict[str, type[HoldfastError]] = {kind.kind: kind for kind in (Invalid, Limit, Corrupt, Unavailable)}
CODE = re.compile(r"sql-[a-z]{1,20}(-[a-z]{1,20}){0,3}|index-file")
M = TypeVar("M", bound=msgspec.Struct)


@dataclass(frozen=True, slots=True)
class SqlQuestion:
    """One statement, how to answer it, and what it may cost. `seconds` include the time its reader takes."""

    query: str
    format: AnswerFormat = AnswerFormat.JSON
    row_limit: int = 100_000
    byte_limit: int = 256 * MIB
    seconds: float = 30.0
    memory_bytes: int = 256 * MIB


class SqlAnswer(Iterator[bytes]):
    """The bytes of an answer. `columns` are known at once; `rows` and `truncated` (cut at the limit) at the end."""

    def __init__(self, question: SqlQuestion, ended: Callable[[SqlAnswer], None]) -> None:
        self.columns: tuple[AnswerColumn, ...] = ()
        self.rows: int | None = None
        self.truncated = False
        self._question = question
        self._ended = ended
        self._worker: Worker | None = None
        self._late = False
        self._bytes = 0
        self._timer = threading.Timer(question.seconds, self._expire)
        self._timer.daemon = True
        self._timer.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __next__(self) -> bytes:
        """Return the next bytes. Raises HoldfastError where the answer breaks off."""
        if self.rows is not None:
            raise StopIteration
        try:
            kind, payload = self._receive()
            if kind is Kind.DATA:
                return self._counted(payload)
            end = _decoded(kind, payload, Kind.END, wire.End)
        except BaseException:
            self.close()
            raise
        self.rows, self.truncated = end.rows, end.truncated
        self.close()
        raise StopIteration

    def begin(self, worker: Worker) -> None:
        """Take the worker on, whose end is this answer's from now on."""
        self._worker = worker
        if self._late:
            worker.kill()

    def wait_ready(self) -> None:
        """Wait for the worker to have its tables."""
        _decoded(*self._receive(), Kind.READY, wire.Ready)

    def ask(self) -> None:
        """Send the statement, and wait for it to be understood."""
        asked = self._question
        message = wire.Ask(asked.query, asked.format.value, asked.row_limit, asked.seconds, asked.memory_bytes)
        try:
            self._of_worker().ask(message)
        except OSError as error:
            raise self.lost(error) from error
        self.columns = tuple(_decoded(*self._receive(), Kind.COLUMNS, wire.Columns).columns)

    def close(self) -> None:
        """End the worker at once, wherever it is. Any number of times, from any thread."""
        self._timer.cancel()
        if self._worker is not None:
            self._worker.discard()
        self._ended(self)

    def _of_worker(self) -> Worker:
        if self._worker is None:
            raise Unavailable("the question was not asked", code="sql-door")
        return self._worker

    def _expire(self) -> None:
        self._late = True
        if self._worker is not None:
            self._worker.kill()

    def _receive(self) -> tuple[Kind, bytes]:
        try:
            return self._of_worker().receive()
        except (OSError, EOFError, ValueError) as error:
            raise self.lost(error) from error

    def lost(self, error: Exception) -> HoldfastError:
        """Why the worker is gone: its time was over, or it ended without a word."""
        if self._late:
            return Limit(
                f"the query took longer than {self._question.seconds:g} s", code="sql-time", hint="ask for less"
            )
        return lost(error)

    def _counted(self, payload: bytes) -> bytes:
        self._bytes += len(payload)
        if self._bytes > self._question.byte_limit:
            raise Limit(
                f"the answer has more than {self._question.byte_limit} bytes", code="sql-bytes", hint="ask for less"
            )
        return payload


def lost(error: Exception) -> Unavailable:
    """What to say of a worker that ended without a word: out of memory beyond all limits, or a bug of DuckDB's."""
    return Unavailable(
        "the query's process ended before its answer", code="sql-door", why=str(error), hint="ask for less"
    )


def _decoded(kind: Kind, payload: bytes, expected: Kind, of: type[M]) -> M:
    """The message of a frame. Raises what a FAILED frame says, Unavailable for what the worker should not say."""
    try:
        if kind is Kind.FAILED:
            raise _failure(msgspec.json.decode(payload, type=wire.Failed))
        if kind is expected:
            return msgspec.json.decode(payload, type=of)
    except msgspec.MsgspecError as error:
        raise lost(error) from error
    raise lost(ValueError(f"{kind.name} instead of {expected.name}"))


def _failure(failed: wire.Failed) -> HoldfastError:
    kind = KINDS.get(failed.kind, Unavailable)
    code = failed.code if CODE.fullmatch(failed.code) else "sql-door"
    return kind(failed.what, code=code, why=failed.why, hint=failed.hint)


def ready(worker: Worker) -> wire.Ready:
    """Wait for a worker to have its tables. Raises Unavailable, also when it says that it is not sealed."""
    try:
        return _decoded(*worker.receive(), Kind.READY, wire.Ready)
    except (OSError, EOFError, ValueError) as error:
        raise lost(error) from error

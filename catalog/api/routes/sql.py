"""SQL, and what it may be asked over. Imports `catalog.api` and `catalog.sql`.

A statement runs in a sealed process that was given the caller's rows and no others. An answer that fails breaks off;
one that is whole, or cut at its row limit, says so at its end, in all forms but CSV.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Annotated
from uuid import UUID

import msgspec
from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from catalog.access.caller import Permission
from catalog.answers import MEDIA_TYPES, AnswerFormat
from catalog.api.deps import Ask, needs, pin
from catalog.api.negotiate import chosen_format
from catalog.api.pool import in_thread
from catalog.api.schema import shows, shows_bulk
from catalog.api.streams import Stream
from catalog.sql.door.answer import SqlAnswer, SqlQuestion
from catalog.sql.entrance import Entrance, entrance
from catalog.sql.questions import QUESTIONS
from catalog.sql.views import VIEWS
from storage.errors import HoldfastError, Unavailable

router = APIRouter(prefix="/v1/sql", default_response_class=Response)

MAX_QUERY = 64 * 1024
MAX_ROWS = 10_000_000
MAX_SECONDS = 300.0
HELD_BYTES = 1 << 20
"""An answer up to this size is complete before its head is sent, which then tells how it ended."""


class SqlWish(BaseModel):
    """One statement; `as_of` is a position or an RFC 3339 time."""

    model_config = ConfigDict(extra="forbid")

    query: str = Field(min_length=1, max_length=MAX_QUERY)
    as_of: int | str | None = Field(None, union_mode="left_to_right")
    row_limit: int = Field(100_000, ge=1, le=MAX_ROWS)
    seconds: float = Field(30.0, ge=1, le=MAX_SECONDS)


class SqlColumn(msgspec.Struct, frozen=True, kw_only=True):
    """A column of a view."""

    name: str
    description: str


class SqlView(msgspec.Struct, frozen=True, kw_only=True):
    """A view that statements may name."""

    name: str
    description: str
    columns: tuple[SqlColumn, ...]


class SqlViews(msgspec.Struct, frozen=True, kw_only=True):
    """All views."""

    items: tuple[SqlView, ...]


class SavedQuestion(msgspec.Struct, frozen=True, kw_only=True):
    """A question that auditors ask, and the statement that answers it."""

    name: str
    title: str
    why: str
    query: str


class SavedQuestions(msgspec.Struct, frozen=True, kw_only=True):
    """All saved questions."""

    items: tuple[SavedQuestion, ...]


VIEW_ANSWER = SqlViews(
    items=tuple(
        SqlView(
            name=view.name,
            description=view.comment,
            columns=tuple(SqlColumn(name=name, description=text) for name, text in view.columns.items()),
        )
        for view in VIEWS
    )
)
QUESTION_ANSWER = SavedQuestions(
    items=tuple(
        SavedQuestion(name=saved.name, title=saved.title, why=saved.why, query=saved.query) for saved in QUESTIONS
    )
)


@router.post("", responses=shows_bulk("The rows of the answer.", tagged=False))
async def ask_sql(ask: Annotated[Ask, needs(Permission.SQL)], wish: SqlWish) -> Response:
    """Answer one SELECT over the caller's rows.

    `Catalog-Row-Limit` says where the answer is cut. `Catalog-Rows` and `Catalog-Truncated` say how it ended, where
    it is short enough to be complete before it is sent; the end of the answer says it always, but in CSV.
    """
    ask.detail = wish.query
    await pin(ask, None if wish.as_of is None else str(wish.as_of), None)
    asking = _Asking(ask)
    watch = asyncio.create_task(_stop_when_gone(ask.request, asking))
    try:
        return await in_thread(asking.answered, wish)
    finally:
        watch.cancel()


@router.get("/views", responses=shows(SqlViews, "The views and their columns."))
def list_sql_views(ask: Annotated[Ask, needs(Permission.SQL)]) -> Response:
    """Describe the views that statements may name."""
    return ask.one(VIEW_ANSWER)


@router.get("/questions", responses=shows(SavedQuestions, "Ten questions that auditors ask."))
def list_sql_questions(ask: Annotated[Ask, needs(Permission.SQL)]) -> Response:
    """List saved questions, to be asked as they are or changed."""
    return ask.one(QUESTION_ANSWER)


class _Asking:
    """One question on its way to an answer; `stop` ends it wherever it is, from any thread."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._give_back: Callable[[], None] = lambda: None
        self._answer: SqlAnswer | None = None
        self._stopped = False

    def stop(self) -> None:
        """End the worker and give back its place."""
        self._stopped = True
        if self._answer is not None:
            self._answer.close()
        self._give_back()

    def answered(self, wish: SqlWish) -> Response:
        """Ask, and return the answer. Raises what the door does."""
        ask = self._ask
        form = chosen_format(ask.request.headers.get("accept"))
        try:
            enter, answer = self._begun(wish, form)
            held, ended = _held(answer)
            ask.record()
        except BaseException as error:
            self.stop()
            if isinstance(error, HoldfastError):
                ask.request.app.state.metrics.refused(error.code)
            raise
        position = enter.position if ask.asked.as_of is None else ask.asked.as_of
        headers = {**ask.headers(position), "Catalog-Row-Limit": str(wish.row_limit), "Cache-Control": "no-store"}
        if ended:
            headers |= {"Catalog-Rows": str(answer.rows), "Catalog-Truncated": str(answer.truncated).lower()}
        pieces: Iterator[bytes] = chain(held, answer)
        return Stream(pieces, media_type=MEDIA_TYPES[form], headers=headers, close=self.stop, stoppable=True)

    def _begun(self, wish: SqlWish, form: AnswerFormat) -> tuple[Entrance, SqlAnswer]:
        services = self._ask.services
        if services.door is None:
            raise Unavailable("there is no SQL door here", code="sql-door", hint="holdfast doctor says what is missing")
        self._give_back = self._ask.request.app.state.questions.take(self._ask.caller.name)
        as_of = self._ask.asked.as_of
        enter = entrance(services.catalog.lake, machine_ids=self._machines(as_of), as_of=as_of)
        question = SqlQuestion(wish.query, form, row_limit=wish.row_limit, seconds=wish.seconds)
        self._answer = services.door.ask(question, enter)
        if self._stopped:
            self._answer.close()
        return enter, self._answer

    def _machines(self, as_of: int | None) -> frozenset[UUID] | None:
        """The caller's machines. What enters is not cut at `as_of`, only the views are: so also by today's names."""
        reads, scope = self._ask.services.reads, self._ask.caller.scope
        then, now = reads.scope_ids(scope, as_of), reads.scope_ids(scope)
        return None if then is None or now is None else then & now


async def _stop_when_gone(request: Request, asking: _Asking) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    await in_thread(asking.stop)


def _held(answer: SqlAnswer) -> tuple[list[bytes], bool]:
    """The first pieces, and whether they are all."""
    held: list[bytes] = []
    size = 0
    for piece in answer:
        held.append(piece)
        size += len(piece)
        if size >= HELD_BYTES:
            return held, False
    return held, True

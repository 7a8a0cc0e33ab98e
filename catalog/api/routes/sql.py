"""SQL, and what it may be asked over. Imports `catalog.api` and `catalog.sql`.

A statement runs in a sealed process that was given the caller's rows and no others. An answer that fails breaks off;
one that is whole, or cut at its row limit, says so at its end, in all forms but CSV.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Annotated

import msgspec
from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from catalog.access.caller import Permission
from catalog.answers import MEDIA_TYPES
from catalog.api.deps import Ask, in_thread, needs, pin
from catalog.api.negotiate import chosen_format
from catalog.api.schema import shows, shows_bulk
from catalog.api.streams import Stream
from catalog.sql.door.answer import SqlAnswer, SqlQuestion
from catalog.sql.entrance import entrance
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
    return await in_thread(_answered, ask, wish)


@router.get("/views", responses=shows(SqlViews, "The views and their columns."))
def list_sql_views(ask: Annotated[Ask, needs(Permission.SQL)]) -> Response:
    """Describe the views that statements may name."""
    return ask.one(VIEW_ANSWER)


@router.get("/questions", responses=shows(SavedQuestions, "Ten questions that auditors ask."))
def list_sql_questions(ask: Annotated[Ask, needs(Permission.SQL)]) -> Response:
    """List saved questions, to be asked as they are or changed."""
    return ask.one(QUESTION_ANSWER)


def _answered(ask: Ask, wish: SqlWish) -> Response:
    form = chosen_format(ask.request.headers.get("accept"))
    services = ask.services
    if services.door is None:
        raise Unavailable("there is no SQL door here", code="sql-door", hint="holdfast doctor says what is missing")
    give_back = ask.request.app.state.questions.take(ask.caller.name)
    answer: SqlAnswer | None = None

    def close() -> None:
        if answer is not None:
            answer.close()
        give_back()

    try:
        machines = services.reads.scope_ids(ask.caller.scope, ask.asked.as_of)
        enter = entrance(services.catalog.lake, machine_ids=machines, as_of=ask.asked.as_of)
        question = SqlQuestion(wish.query, form, row_limit=wish.row_limit, seconds=wish.seconds)
        answer = services.door.ask(question, enter)
        held, ended = _held(answer)
        ask.record()
    except BaseException as error:
        close()
        if isinstance(error, HoldfastError):
            ask.request.app.state.metrics.refused(error.code)
        raise
    position = enter.position if ask.asked.as_of is None else ask.asked.as_of
    headers = {**ask.headers(position), "Catalog-Row-Limit": str(wish.row_limit), "Cache-Control": "no-store"}
    if ended:
        headers |= {"Catalog-Rows": str(answer.rows), "Catalog-Truncated": str(answer.truncated).lower()}
    pieces: Iterator[bytes] = chain(held, answer)
    return Stream(pieces, media_type=MEDIA_TYPES[form], headers=headers, close=close, stoppable=True)


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

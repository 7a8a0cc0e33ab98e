"""Events: everything that ever happened, in order. Imports `catalog.api`."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

import msgspec
from fastapi import APIRouter, Header, Path, Query
from starlette.responses import Response

from catalog.access.caller import Permission
from catalog.api.asof import MAX_POSITION
from catalog.api.deps import Ask, needs, needs_index, needs_page
from catalog.api.schema import shows, shows_list, shows_text
from catalog.api.sse import EVENT_STREAM, EventStream, Told
from catalog.queries.asked import Asked, Page
from catalog.queries.rows import EventRow
from storage.errors import Invalid

router = APIRouter(prefix="/v1/events", default_response_class=Response)

PAGE_ROWS = 200

PositionPath = Annotated[int, Path(ge=1, le=MAX_POSITION, description="A position of the log.")]


class EventAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """An event; `body` is what it says, large data left out. `topic` is its type and version."""

    position: int
    topic: str
    stream_id: UUID
    version: int
    recorded_at: datetime
    machine_id: UUID | None
    run_id: UUID | None
    disk_id: UUID | None
    rows: int | None
    state_bytes: int
    body: msgspec.Raw


@router.get("", responses=shows_list(EventAnswer, "Events in the order of the log."))
def list_events(
    ask: Annotated[Ask, needs_page(Permission.EVENTS)],
    after: Annotated[int | None, Query(ge=0, le=MAX_POSITION, description="Only what follows this position.")] = None,
    machine_id: UUID | None = None,
    topic: Annotated[
        str | None, Query(max_length=100, description="A type, such as PackSealed or PackSealed/1.")
    ] = None,
    newest_first: bool = False,
) -> Response:
    """List events: all, of a machine and its runs, or of a type."""
    if after is not None:
        if newest_first:
            raise Invalid("after goes with the order of the log", code="parameter-conflict", hint="drop newest_first")
        ask.start_after((after,))
    page = ask.services.reads.events(ask.asked, machine_id=machine_id, topic=topic, newest_first=newest_first)
    return ask.page(with_bodies(page), EventAnswer)


@router.get("/stream", responses=shows_text("Events as they come, one message each.", EVENT_STREAM))
def stream_events(
    ask: Annotated[Ask, needs(Permission.EVENTS)],
    after: Annotated[
        int | None, Query(ge=0, le=MAX_POSITION, description="Begin behind this position; now if not given.")
    ] = None,
    last_event_id: Annotated[str | None, Header(max_length=32, description="Where a broken stream goes on.")] = None,
) -> Response:
    """Tell events as they come: the message's id is the position, its event the topic, its data the event."""
    position = ask.services.reads.position if after is None else after
    if last_event_id is not None and last_event_id.isascii() and last_event_id.isdigit():
        position = min(MAX_POSITION, int(last_event_id))
    close = ask.request.app.state.streams.take(ask.caller.name)
    try:
        ask.record()
    except BaseException:
        close()
        raise
    return EventStream(_Following(ask, position), ask.request.app.state, close=close)


@router.get("/{position}", responses=shows(EventAnswer, "The event."))
def get_event(ask: Annotated[Ask, needs_index(Permission.EVENTS)], position: PositionPath) -> Response:
    """Show one event."""
    return ask.one(_with_body(ask.services.reads.event(ask.asked, position)), position=ask.asked.as_of)


def with_bodies(page: Page[EventRow]) -> Page[EventAnswer]:
    """Events whose bodies are JSON, not text that holds JSON."""
    return Page(tuple(map(_with_body, page.rows)), page.next, page.position)


def _with_body(row: EventRow) -> EventAnswer:
    fields = msgspec.structs.asdict(row)
    return EventAnswer(**{**fields, "body": msgspec.Raw(row.body.encode())})


class _Following:
    """What is new behind a position, for a caller who is still known."""

    def __init__(self, ask: Ask, position: int) -> None:
        self._ask = ask
        self._position = position

    def __call__(self) -> list[Told]:
        """The next events. Raises Denied when the caller's credential is good no more."""
        ask, reads = self._ask, self._ask.services.reads
        caller = ask.services.identities.identify(ask.request.headers.get("authorization"), ask.address)
        if reads.position <= self._position:
            return []
        page = reads.events(Asked(caller.scope, limit=PAGE_ROWS, after=(self._position,)))
        self._position = page.position if page.next is None else page.rows[-1].position
        return [
            Told(row.topic.partition("/")[0], msgspec.json.encode(_with_body(row)), row.position) for row in page.rows
        ]

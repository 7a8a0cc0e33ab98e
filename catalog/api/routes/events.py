"""Events: everything that ever happened, in order. Imports `catalog.api`."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

import msgspec
from fastapi import APIRouter, Path, Query
from starlette.responses import Response

from catalog.access.caller import Permission
from catalog.api.asof import MAX_POSITION
from catalog.api.deps import Ask, needs_index, needs_page
from catalog.api.schema import shows, shows_list
from catalog.queries.asked import Page
from catalog.queries.rows import EventRow
from storage.errors import Invalid

router = APIRouter(prefix="/v1/events", default_response_class=Response)

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

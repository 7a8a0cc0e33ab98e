"""Who am I, how is the catalog, where is something. Imports `catalog.api`."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec
from fastapi import APIRouter, Query
from starlette.responses import Response

from catalog.access.caller import GRANTS, Permission
from catalog.api.deps import Ask, needs, needs_index, needs_page
from catalog.api.routes.ledger import LedgerState, state_of
from catalog.api.schema import shows, shows_list
from catalog.domain.task import OPEN
from catalog.queries.asked import MAX_LIMIT
from catalog.queries.rows import IndexStatus, SearchHit

router = APIRouter(prefix="/v1", default_response_class=Response)


class WhoAmI(msgspec.Struct, frozen=True, kw_only=True):
    """The caller; `machines` are globs over source/name, null for all there are."""

    name: str
    kind: str
    role: str
    permissions: tuple[str, ...]
    machines: tuple[str, ...] | None


class Trouble(msgspec.Struct, frozen=True, kw_only=True):
    """Why something is not up to date."""

    code: str
    why: str


class TaskCounts(msgspec.Struct, frozen=True, kw_only=True):
    """Tasks that have not ended: under way, and waiting for a worker."""

    running: int
    waiting: int


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """The state of the service: the index at its position, and what keeps it from being newer."""

    index: IndexStatus
    log_position: int
    lag: int
    trouble: Trouble | None
    ledger: LedgerState
    tasks: TaskCounts
    sql: bool
    """Whether the SQL door is open."""
    now: datetime


@router.get("/whoami", responses=shows(WhoAmI, "The caller.", tagged=False))
def whoami(ask: Annotated[Ask, needs(Permission.READ)]) -> Response:
    """Say who the bearer of this credential is, and what it may do."""
    caller = ask.caller
    return ask.one(
        WhoAmI(
            name=caller.name,
            kind=caller.kind,
            role=caller.role,
            permissions=tuple(sorted(GRANTS[caller.role])),
            machines=caller.scope.globs,
        )
    )


@router.get("/status", responses=shows(Status, "The state of the catalog."))
def get_status(ask: Annotated[Ask, needs_index(Permission.READ)]) -> Response:
    """Count what there is, and name what needs attention."""
    services = ask.services
    index = services.reads.status(ask.asked)
    trouble = services.follower.trouble
    end = ask.record()
    return ask.one(
        Status(
            index=index,
            log_position=end,
            lag=max(0, end - services.reads.position),
            trouble=None if trouble is None else Trouble(code=trouble.code, why=str(trouble)),
            ledger=state_of(services.ledger.status()),
            tasks=_tasks(ask),
            sql=services.door is not None,
            now=services.clock(),
        ),
        position=index.position,
    )


@router.get("/search", responses=shows_list(SearchHit, "What the text names."))
def search(
    ask: Annotated[Ask, needs_page(Permission.READ)],
    q: Annotated[str, Query(min_length=1, max_length=200, description="Part of a machine's name, or an identifier.")],
) -> Response:
    """Find machines by parts of their names; restore points, runs and chunks by their identifiers."""
    return ask.page(ask.services.reads.search(ask.asked, q), SearchHit)


def _tasks(ask: Ask) -> TaskCounts:
    found = ask.services.tasks.tasks(ask.caller, statuses=OPEN, limit=MAX_LIMIT)
    waiting = sum(row.state.status == "requested" for row in found.rows)
    return TaskCounts(running=len(found.rows) - waiting, waiting=waiting)

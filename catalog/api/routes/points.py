"""Restore points: lists, disks, where their blocks come from, and deletion. Imports `catalog.api`."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Header, Path, Query
from starlette.responses import Response

from catalog.access.caller import Permission
from catalog.api.asof import wait_for
from catalog.api.deps import Ask, needs, needs_index, needs_page
from catalog.api.pool import in_thread
from catalog.api.replies import same_thing
from catalog.api.routes.events import EventAnswer, with_bodies
from catalog.api.schema import shows, shows_list
from catalog.api.values import Time
from catalog.deletion import delete_point
from catalog.queries.asked import page
from catalog.queries.rows import DiskRow, LeftOutRow, PointRow, ProvenanceRow
from storage.errors import Conflict

router = APIRouter(prefix="/v1/restore-points", default_response_class=Response)

PointPath = Annotated[
    str,
    Path(
        min_length=1,
        max_length=300,
        description="A restore point: its identifier, an unambiguous start of it, `latest`, or `latest:MACHINE`.",
    ),
]


@router.get("", responses=shows_list(PointRow, "Restore points, the newest first."))
def list_restore_points(
    ask: Annotated[Ask, needs_page(Permission.READ)],
    machine_id: UUID | None = None,
    since: Annotated[Time | None, Query(description="Recorded then or later.")] = None,
    until: Annotated[Time | None, Query(description="Recorded before then.")] = None,
    valid_at: Annotated[
        Time | None, Query(description="Data from then or earlier, as claimed, and not deleted by then.")
    ] = None,
    include_deleted: bool = False,
    newest_first: bool = True,
) -> Response:
    """List restore points. Deleted ones are told, with their tombstones, when they are asked for."""
    page = ask.services.reads.restore_points(
        ask.asked,
        machine_id=machine_id,
        since=since,
        until=until,
        valid_at=valid_at,
        include_deleted=include_deleted,
        newest_first=newest_first,
    )
    return ask.page(page, PointRow)


@router.get("/{restore_point}", responses=shows(PointRow, "The restore point."))
def get_restore_point(ask: Annotated[Ask, needs_index(Permission.READ)], restore_point: PointPath) -> Response:
    """Show one restore point, a deleted one with its tombstone."""
    return ask.one(point_of(ask, restore_point), position=ask.asked.as_of)


@router.get("/{restore_point}/disks", responses=shows_list(DiskRow, "The disks by label."))
def list_restore_point_disks(ask: Annotated[Ask, needs_page(Permission.READ)], restore_point: PointPath) -> Response:
    """List the disks of a restore point: level, cause, sizes and the chain each is made of."""
    point = point_of(ask, restore_point)
    return ask.page(ask.services.reads.point_disks(ask.asked, point.restore_point_id), DiskRow)


@router.get("/{restore_point}/left-out", responses=shows_list(LeftOutRow, "The disks by label."))
def list_left_out(ask: Annotated[Ask, needs_page(Permission.READ)], restore_point: PointPath) -> Response:
    """List the disks that a restore point does not hold, why, and what their owner can do."""
    point = point_of(ask, restore_point)
    rows = sorted(ask.services.reads.left_out(ask.asked, point.restore_point_id), key=_label)
    at = ask.services.reads.position if ask.asked.as_of is None else ask.asked.as_of
    return ask.page(page(ask.asked, at, rows, _label, lambda row: row), LeftOutRow)


@router.get("/{restore_point}/provenance", responses=shows_list(ProvenanceRow, "Shares by disk and point."))
def list_provenance(ask: Annotated[Ask, needs_page(Permission.READ)], restore_point: PointPath) -> Response:
    """Say which restore point supplies which share of each disk."""
    point = point_of(ask, restore_point)
    return ask.page(ask.services.reads.provenance(ask.asked, point.restore_point_id), ProvenanceRow)


@router.get("/{restore_point}/events", responses=shows_list(EventAnswer, "Events in the order of the log."))
def list_restore_point_events(ask: Annotated[Ask, needs_page(Permission.EVENTS)], restore_point: PointPath) -> Response:
    """List the events about a restore point, its run included."""
    point = point_of(ask, restore_point)
    page = ask.services.reads.events(ask.asked, restore_point_id=point.restore_point_id)
    return ask.page(with_bodies(page), EventAnswer)


def _label(row: LeftOutRow) -> tuple[str, str]:
    return row.label, str(row.disk_id)


@router.delete("/{restore_point}", responses=shows(PointRow, "The point with its tombstone.", tagged=False))
async def delete_restore_point(
    ask: Annotated[Ask, needs(Permission.DELETE)],
    restore_point: Annotated[UUID, Path(description="The restore point, by its whole identifier.")],
    reason: Annotated[str, Query(min_length=1, max_length=1000, description="Why; it stays in the tombstone.")],
    if_match: Annotated[str | None, Header(max_length=1000, description="Only if it is still this ETag's.")] = None,
) -> Response:
    """Withdraw a restore point. A tombstone stays; points that build on it restore as before."""
    services = ask.services
    expected = None
    if if_match is not None:
        # The stream first, then the log: what the index shows from there on has all of that stream.
        point = services.reads.restore_point(ask.asked, restore_point)
        expected = await in_thread(services.catalog.log.version, point.machine_id)
        await wait_for(services, await in_thread(services.catalog.log.position))
    position = await in_thread(_delete, ask, restore_point, reason, if_match, expected)
    await wait_for(services, position)
    return await in_thread(ask.acted, services.reads.restore_point(ask.asked, restore_point))


def _delete(ask: Ask, restore_point_id: UUID, reason: str, if_match: str | None, expected: int | None) -> int:
    services = ask.services
    ask.detail = reason
    point = services.reads.restore_point(ask.asked, restore_point_id)
    if if_match is not None and not same_thing(if_match, point):
        raise _changed()
    log, actor, clock = services.catalog.log, ask.caller.name, services.clock
    try:
        delete_point(
            log, point.machine_id, restore_point_id, actor=actor, reason=reason, clock=clock, expected_version=expected
        )
    except Conflict as error:
        if expected is not None and error.code == "event-version":
            raise _changed() from error
        raise
    ask.done = f"restore point {restore_point_id} is deleted"
    return log.position()


def _changed() -> Conflict:
    return Conflict("the restore point is not what it was", code="etag-mismatch", hint="read it again and decide")


def point_of(ask: Ask, text: str) -> PointRow:
    """The restore point that a path names. Raises NotFound, Invalid."""
    try:
        restore_point_id = UUID(text)
    except ValueError:
        return ask.services.reads.find_point(ask.asked, text)
    return ask.services.reads.restore_point(ask.asked, restore_point_id)

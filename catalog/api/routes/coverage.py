"""Was a machine backed up often enough. Imports `catalog.api`."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from starlette.responses import Response

from catalog.access.caller import Permission
from catalog.api.deps import Ask, needs_index, needs_page
from catalog.api.schema import shows, shows_list
from catalog.api.values import Day, Time, duration
from catalog.queries.rows import CoverageRow, GridRow
from storage.errors import Invalid

router = APIRouter(prefix="/v1", default_response_class=Response)

MAX_DAYS = 400
FromQuery = Annotated[Time, Query(alias="from", description="RFC 3339, with its offset.")]


@router.get("/machines/{machine_id}/coverage", responses=shows(CoverageRow, "Covered or the gaps."))
def get_coverage(
    ask: Annotated[Ask, needs_index(Permission.READ)],
    machine_id: UUID,
    start: FromQuery,
    end: Annotated[Time, Query(alias="to", description="RFC 3339, exclusive.")],
    rpo: Annotated[str, Query(max_length=32, description="The longest time without a restore point, such as 24h.")],
    accept_left_out: Annotated[
        list[str], Query(max_length=100, description="Labels of disks that may be left out.")
    ] = [],  # noqa: B006 - FastAPI copies it
) -> Response:
    """Say whether restore points of a machine lie no further apart than the RPO, and where they do not."""
    row = ask.services.reads.coverage(
        ask.asked, machine_id, start=start, end=end, rpo=duration(rpo), accepted=accept_left_out
    )
    return ask.one(row, position=ask.asked.as_of)


@router.get("/coverage", responses=shows_list(GridRow, "Machines by source and name, each with its days."))
def get_coverage_grid(
    ask: Annotated[Ask, needs_page(Permission.READ)],
    first_day: Annotated[Day, Query(alias="from", description="The first day, UTC.")],
    last_day: Annotated[Day, Query(alias="to", description="The last day, UTC, included.")],
) -> Response:
    """Show the state of each day of each machine."""
    if not first_day <= last_day or last_day - first_day > timedelta(days=MAX_DAYS):
        raise Invalid(f"from and to are no span of up to {MAX_DAYS} days", code="coverage-span")
    page = ask.services.reads.coverage_grid(ask.asked, first_day=first_day, last_day=last_day)
    return ask.page(page, GridRow)

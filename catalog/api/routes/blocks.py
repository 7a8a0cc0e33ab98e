"""The contents of disks in bulk: extents and block maps, streamed. Imports `catalog.api`."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from starlette.responses import Response

from catalog.access.caller import Permission
from catalog.api.deps import Ask, needs_index
from catalog.api.routes.points import PointPath, point_of
from catalog.api.schema import shows_bulk

router = APIRouter(prefix="/v1/restore-points/{restore_point}/disks/{disk_id}", default_response_class=Response)

MAX_BLOCK = 2**32 - 1


@router.get("/extents", responses=shows_bulk("start_bytes, length_bytes and kind of each extent."))
def stream_extents(
    ask: Annotated[Ask, needs_index(Permission.READ)], restore_point: PointPath, disk_id: UUID
) -> Response:
    """Stream what this restore point recorded of a disk: what the source reported, and what was stored as zero."""
    point = point_of(ask, restore_point)
    schema, batches = ask.services.reads.extent_batches(ask.asked, point.restore_point_id, disk_id)
    return ask.bulk(schema, batches, tag=point.restore_point_id.hex)


@router.get("/blocks", responses=shows_bulk("Where each block is: its chunk, pack and place in the pack."))
def stream_blocks(
    ask: Annotated[Ask, needs_index(Permission.READ)],
    restore_point: PointPath,
    disk_id: UUID,
    first_block: Annotated[int, Query(ge=0, le=MAX_BLOCK)] = 0,
    count: Annotated[int | None, Query(ge=1, le=MAX_BLOCK, description="How many blocks; all if not given.")] = None,
) -> Response:
    """Stream the block map of a disk as of a restore point, in the order of the disk."""
    point = point_of(ask, restore_point)
    schema, batches = ask.services.reads.block_map(
        ask.asked, point.restore_point_id, disk_id, first_block=first_block, count=count
    )
    return ask.bulk(schema, batches, tag=point.restore_point_id.hex)

"""Where a chunk is used: what is hurt when it is bad. Imports `catalog.api`."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path
from starlette.responses import Response

from catalog.access.caller import Permission
from catalog.api.deps import Ask, needs_page
from catalog.api.schema import shows_list
from catalog.queries.rows import ReferenceRow

router = APIRouter(prefix="/v1/chunks", default_response_class=Response)


@router.get("/{digest}/references", responses=shows_list(ReferenceRow, "Runs of blocks that hold the chunk."))
def list_references(
    ask: Annotated[Ask, needs_page(Permission.READ)],
    digest: Annotated[str, Path(pattern="^[0-9a-fA-F]{64}$", description="The chunk's digest, 64 hex digits.")],
    inherited: bool = False,
) -> Response:
    """List the restore points, disks and blocks that cite a chunk; `inherited`: and how long each keeps it."""
    page = ask.services.reads.references(ask.asked, bytes.fromhex(digest), inherited=inherited)
    return ask.page(page, ReferenceRow)

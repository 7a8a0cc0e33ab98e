"""Machines and their disks. Imports `catalog.api`."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from starlette.responses import Response

from catalog.access.caller import Permission
from catalog.api.deps import Ask, needs_index, needs_page
from catalog.api.schema import shows, shows_list
from catalog.queries.rows import MachineRow, SeenDiskRow

router = APIRouter(prefix="/v1/machines", default_response_class=Response)


@router.get("", responses=shows_list(MachineRow, "Machines by source and name."))
def list_machines(
    ask: Annotated[Ask, needs_page(Permission.READ)],
    name: Annotated[str | None, Query(max_length=200, description="Part of name or source/name, case apart.")] = None,
) -> Response:
    """List the machines and what is kept of each."""
    return ask.page(ask.services.reads.machines(ask.asked, name=name), MachineRow)


@router.get("/{machine_id}", responses=shows(MachineRow, "The machine."))
def get_machine(ask: Annotated[Ask, needs_index(Permission.READ)], machine_id: UUID) -> Response:
    """Show one machine."""
    return ask.one(ask.services.reads.machine(ask.asked, machine_id), position=ask.asked.as_of)


@router.get("/{machine_id}/disks", responses=shows_list(SeenDiskRow, "The machine's disks by label."))
def list_machine_disks(ask: Annotated[Ask, needs_page(Permission.READ)], machine_id: UUID) -> Response:
    """List all disks that a machine ever had, those left out of its backups too."""
    return ask.page(ask.services.reads.disks(ask.asked, machine_id), SeenDiskRow)

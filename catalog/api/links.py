"""Where an answer leads: OpenAPI links from each operation to those that its answer has the identifiers for.

Imports nothing of ours. A link of a list takes the list's first row.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Parameters = Mapping[str, str]

OF_MACHINE = ("get_machine", "list_machine_disks", "get_coverage", "list_restore_points")
OF_POINT = (
    *("get_restore_point", "list_restore_point_disks", "list_left_out", "list_provenance"),
    "list_restore_point_events",
)
OF_DISK = ("stream_extents", "stream_blocks")
OF_TASK = ("get_task", "cancel_task")
REQUESTS = ("request_backup", "request_synthetic", "request_restore", "request_verification", "cancel_task")


def _to(targets: tuple[str, ...], **parameters: str) -> dict[str, Parameters]:
    return dict.fromkeys(targets, parameters)


FIRST = "$response.body#/items/0/"
THIS = "$response.body#/"
DISK: Parameters = {"restore_point": "$request.path.restore_point", "disk_id": FIRST + "disk_id"}

LINKS: Mapping[str, Mapping[str, Parameters]] = {
    "list_machines": _to(OF_MACHINE, machine_id=FIRST + "machine_id"),
    "get_machine": _to(OF_MACHINE[1:], machine_id=THIS + "machine_id"),
    "list_restore_points": _to(OF_POINT, restore_point=FIRST + "restore_point_id"),
    "get_restore_point": {
        **_to(OF_POINT[1:], restore_point=THIS + "restore_point_id"),
        **_to(OF_MACHINE[:1], machine_id=THIS + "machine_id"),
    },
    "list_restore_point_disks": _to(OF_DISK, **DISK),
    "list_references": _to(OF_POINT[:1], restore_point=FIRST + "restore_point_id"),
    "list_events": _to(("get_event", "get_event_proof"), position=FIRST + "position"),
    "list_restore_point_events": _to(("get_event", "get_event_proof"), position=FIRST + "position"),
    "get_event": _to(("get_event_proof",), position=THIS + "position"),
    "list_tasks": _to(OF_TASK, task_id=FIRST + "task_id"),
    **dict.fromkeys(REQUESTS, _to(OF_TASK, task_id=THIS + "task_id")),
    "create_token": _to(("revoke_token",), token_id=THIS + "token_id"),
}


def add_links(operation: dict[str, Any]) -> None:
    """Put the links of an operation into the description of its successful answer."""
    links = LINKS.get(operation["operationId"])
    if links:
        answer = next(answer for status, answer in operation["responses"].items() if status.startswith("2"))
        answer["links"] = {
            target: {"operationId": target, "parameters": dict(parameters)} for target, parameters in links.items()
        }

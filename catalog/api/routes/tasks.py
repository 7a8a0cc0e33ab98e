"""Asking for work, and following it: backups, synthetic fulls, restores, verifications. Imports `catalog.api`.

A request is an event; a worker does it. The same Idempotency-Key with the same body is the same task, so that a
request may be sent again when its answer was lost.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from fastapi import APIRouter, Header, Query
from pydantic import BaseModel, ConfigDict, Field, model_validator
from starlette.responses import Response

from catalog.access.caller import Permission
from catalog.api.deps import Ask, needs, needs_list
from catalog.api.schema import Responses, shows, shows_list, shows_text
from catalog.api.sse import EVENT_STREAM, EventStream, Told
from catalog.domain.task import TaskState, TaskStatus
from catalog.queries.asked import Page, after_number
from catalog.tasks.names import MAX_KEY, MAX_TARGET_BYTES
from catalog.tasks.record import TaskRecord, task_record

router = APIRouter(prefix="/v1", default_response_class=Response)

RETRY_AFTER_SECONDS = 1
MAX_SOURCE = 64

KeyHeader = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=MAX_KEY,
        description="Names the request: sent again with the same body it is the same task, with another it is refused.",
    ),
]


def _given(name: str) -> dict[str, Any]:
    """The schema of a body in which a field stands, and is not null."""
    return {"required": [name], "properties": {name: {"type": "string"}}}


class Wish(BaseModel):
    """What all requests have in common: nothing but what is documented."""

    model_config = ConfigDict(extra="forbid")


class BackupWish(Wish):
    """A source by its name, or one machine: one of them at least."""

    model_config = ConfigDict(json_schema_extra={"anyOf": [_given("source"), _given("machine_id")]})

    source: str | None = Field(None, min_length=1, max_length=MAX_SOURCE)
    machine_id: UUID | None = None
    full: bool = Field(False, description="Read everything, whatever the change tracking says.")

    @model_validator(mode="after")
    def _of_something(self) -> BackupWish:
        if self.source is None and self.machine_id is None:
            raise ValueError("source or machine_id is needed")
        return self


class SyntheticWish(Wish):
    """The restore point to make a synthetic full of."""

    restore_point_id: UUID


class RestoreWish(Wish):
    """A restore point, or one disk of it, and the name of the new directory below the worker's restore folder."""

    restore_point_id: UUID
    disk_id: UUID | None = None
    format: Literal["raw", "qcow2", "vmdk", "vhdx"] = "raw"
    to: str = Field(min_length=1, max_length=MAX_TARGET_BYTES, examples=["web/2026-03-01"])


class VerificationWish(Wish):
    """The restore point to read back: `stored` hashes the packs, `content` every chunk."""

    restore_point_id: UUID
    level: Literal["stored", "content"] = "content"


def _accepts(description: str) -> Responses:
    shown = shows(TaskRecord, description, status=202, tagged=False)
    shown[202]["headers"] = {
        "Location": {"description": "Where the task is looked at.", "schema": {"type": "string"}},
        "Retry-After": {"description": "Seconds until it is worth a look.", "schema": {"type": "integer"}},
    }
    return shown


@router.post("/backups", status_code=202, responses=_accepts("The task."))
def request_backup(
    ask: Annotated[Ask, needs(Permission.BACKUP)], wish: BackupWish, idempotency_key: KeyHeader = None
) -> Response:
    """Ask for a backup of a source, or of one machine."""
    book = ask.services.tasks
    return _accepted(ask, wish, lambda **fields: book.request_backup(ask.caller, **fields), idempotency_key)


@router.post("/synthetics", status_code=202, responses=_accepts("The task."))
def request_synthetic(
    ask: Annotated[Ask, needs(Permission.BACKUP)], wish: SyntheticWish, idempotency_key: KeyHeader = None
) -> Response:
    """Ask for a synthetic full of a restore point; no data moves."""
    book = ask.services.tasks
    return _accepted(ask, wish, lambda **fields: book.request_synthetic(ask.caller, **fields), idempotency_key)


@router.post("/restores", status_code=202, responses=_accepts("The task."))
def request_restore(
    ask: Annotated[Ask, needs(Permission.RESTORE)], wish: RestoreWish, idempotency_key: KeyHeader = None
) -> Response:
    """Ask for the disks of a restore point as files, in a new directory below the worker's restore folder."""
    book = ask.services.tasks

    def request(*, format: Any, **fields: Any) -> TaskState:
        return book.request_restore(ask.caller, image_format=format, **fields)

    return _accepted(ask, wish, request, idempotency_key)


@router.post("/verifications", status_code=202, responses=_accepts("The task."))
def request_verification(
    ask: Annotated[Ask, needs(Permission.VERIFY)], wish: VerificationWish, idempotency_key: KeyHeader = None
) -> Response:
    """Ask for a restore point to be read back."""
    book = ask.services.tasks
    return _accepted(ask, wish, lambda **fields: book.request_verification(ask.caller, **fields), idempotency_key)


@router.get("/tasks", responses=shows_list(TaskRecord, "Tasks, the newest first."))
def list_tasks(
    ask: Annotated[Ask, needs_list(Permission.READ)],
    status: Annotated[list[TaskStatus], Query(max_length=7, description="Only those that are so.")] = [],  # noqa: B006 - FastAPI copies it
) -> Response:
    """List what was asked for, and what became of it."""
    found = ask.services.tasks.tasks(
        ask.caller, statuses=frozenset(status) or None, limit=ask.asked.limit, before=after_number(ask.asked)
    )
    records = tuple(task_record(row.state) for row in found.rows)
    return ask.page(Page(records, None if found.next is None else (found.next,), found.position), TaskRecord)


@router.get("/tasks/{task_id}", responses=shows(TaskRecord, "The task."))
def get_task(ask: Annotated[Ask, needs(Permission.READ)], task_id: UUID) -> Response:
    """Show one task."""
    state = ask.services.tasks.task(ask.caller, task_id)
    return ask.one(task_record(state), headers={"Retry-After": str(RETRY_AFTER_SECONDS)} if state.open else None)


@router.post("/tasks/{task_id}/cancel", status_code=202, responses=_accepts("The task, which is going to end."))
def cancel_task(ask: Annotated[Ask, needs(Permission.READ)], task_id: UUID) -> Response:
    """Stop a task; who may ask for its kind of work may. What it made before stays."""
    return _answer(ask, ask.services.tasks.cancel(ask.caller, task_id))


@router.get("/tasks/{task_id}/progress", responses=shows_text("The task at each change.", EVENT_STREAM))
def stream_task(ask: Annotated[Ask, needs(Permission.READ)], task_id: UUID) -> Response:
    """Tell a task as it is, then at each event of it, until it has ended: each message's data is the task."""
    state = ask.services.tasks.task(ask.caller, task_id)
    close = ask.request.app.state.streams.take(ask.caller.name)
    try:
        ask.record()
    except BaseException:
        close()
        raise
    return EventStream(_Watching(ask, state), ask.request.app.state, close=close)


def _accepted(ask: Ask, wish: Wish, request: Callable[..., TaskState], key: str | None) -> Response:
    """Record the request, then the call: the request itself says who asked."""
    ask.detail = wish.model_dump_json(exclude_none=True)
    return _answer(ask, request(idempotency_key=key, **wish.model_dump()))


def _answer(ask: Ask, state: TaskState) -> Response:
    ask.done = f"task {state.task_id} is recorded"
    headers = {"Location": f"/v1/tasks/{state.task_id}", "Retry-After": str(RETRY_AFTER_SECONDS)}
    return ask.acted(task_record(state), 202, headers)


class _Watching:
    """A task as it is, and what comes behind that, for a caller who is still known."""

    def __init__(self, ask: Ask, state: TaskState) -> None:
        self._ask = ask
        self._state = state
        self._begun = False

    def __call__(self) -> list[Told] | None:
        """What is new; None behind the end. Raises Denied when the caller's credential is good no more."""
        if not self._begun:
            self._begun = True
            return [_told(self._state)]
        if not self._state.open:
            return None
        ask = self._ask
        caller = ask.services.identities.identify(ask.request.headers.get("authorization"), ask.address)
        states = ask.services.tasks.later(caller, self._state)
        if states:
            self._state = states[-1]
        return [_told(state) for state in states]


def _told(state: TaskState) -> Told:
    return Told("task", msgspec.json.encode(task_record(state)), state.version)

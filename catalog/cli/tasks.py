"""`holdfast tasks`: what was asked for, and what became of it. Imports `catalog`; answered from the log."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID, uuid4

import msgspec
import typer

from catalog.access.identity import local_caller
from catalog.cli.app import JsonOption, app, home_of
from catalog.cli.output import clean, plain, print_json, print_record, print_rows
from catalog.domain.task import TaskState
from catalog.runtime import Catalog
from catalog.tasks import TaskBook
from catalog.tasks.record import TaskRecord, task_record
from storage.errors import Invalid

COLUMNS = ["task_id", "kind", "status", "requested_by", "requested_at", "attempts", "what", "done_bytes"]


@app.command()
def tasks(
    context: typer.Context,
    task: Annotated[str | None, typer.Argument(metavar="[TASK]", help="All, the newest first, if not named.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many, at most 1000.")] = 100,
    cancel: Annotated[bool, typer.Option("--cancel", help="Stop the task.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show what callers asked for and what became of it."""
    here = local_caller()
    with Catalog.opened(home_of(context)) as catalog:
        book = TaskBook(catalog.log, catalog.config.repository_id, catalog.clock, uuid4)
        if task is None:
            if cancel:
                raise Invalid("say which task", code="task-text", hint="holdfast tasks TASK --cancel")
            found = [_fields(row.state) for row in book.tasks(here, limit=limit).rows]
            print_rows(found, COLUMNS, as_json=as_json)
            return
        task_id = _task_id(task)
        record = _fields(book.cancel(here, task_id) if cancel else book.task(here, task_id))
    if as_json:
        print_json(record)
    else:
        print_record({name: value for name, value in record.items() if value not in (None, "")}, as_json=False)


def task_line(state: TaskState, *, as_json: bool) -> str:
    """One line on a task that ended."""
    if as_json:
        return msgspec.json.encode(task_record(state), enc_hook=plain).decode()
    told = state.detail if state.failure is None else f"{state.failure[2]} [{state.failure[1]}]"
    return clean(f"{state.kind} {state.task_id}: {state.status}" + (f": {told}" if told else ""))


def _fields(state: TaskState) -> dict[str, Any]:
    record: TaskRecord = task_record(state)
    return msgspec.structs.asdict(record)


def _task_id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise Invalid(f"{text} is no task", code="task-text", hint="list them with: holdfast tasks") from None

"""`holdfast machines`, `points`, `show` and `events`: what there is and what happened, now or as it was known then.

Imports `catalog`. Each answer is of one position of the index, which first catches up with the log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import Annotated, Any, TypeVar
from uuid import UUID

import msgspec
import typer

from catalog.access.caller import EVERYTHING
from catalog.cli.app import JsonOption, app, home_of
from catalog.cli.asof import position_of
from catalog.cli.output import print_json, print_record, print_rows
from catalog.configuration import configuration_of
from catalog.queries.asked import MAX_LIMIT, Asked, Page
from catalog.queries.names import machine_names
from catalog.queries.reads import CatalogReads
from catalog.queries.rows import PointRow
from catalog.runtime import Catalog
from storage.errors import NotFound

PointArgument = Annotated[str, typer.Argument(metavar="POINT", help="A restore point, latest, or latest:MACHINE.")]
AsOfOption = Annotated[
    str | None,
    typer.Option(
        "--as-of", metavar="POSITION|TIME", help="As the catalog knew it then: a log position, or a time with its zone."
    ),
]
SHORT = 12
Row = TypeVar("Row")


@contextmanager
def reads_of(context: typer.Context, as_of: str | None = None) -> Iterator[tuple[CatalogReads, Asked]]:
    """Open the catalog for questions, its index up to the log, and at which position they are asked."""
    with Catalog.opened(home_of(context)) as catalog, _reads_in(catalog, as_of) as found:
        yield found


@contextmanager
def _reads_in(catalog: Catalog, as_of: str | None) -> Iterator[tuple[CatalogReads, Asked]]:
    catalog.catch_up()
    with closing(CatalogReads(catalog.lake, catalog.index_resolver(), clock=catalog.clock)) as reads:
        position = reads.position if as_of is None else position_of(catalog.lake, as_of)
        yield reads, Asked(EVERYTHING, as_of=position, limit=MAX_LIMIT)


def every_row(ask: Callable[[Asked], Page[Row]], asked: Asked) -> Iterator[Row]:
    """The rows of all pages."""
    while True:
        page = ask(asked)
        yield from page.rows
        if page.next is None:
            return
        asked = replace(asked, after=page.next)


def point_of(reads: CatalogReads, asked: Asked, text: str) -> PointRow:
    """The restore point that `text` names. Raises NotFound, also for a deleted one."""
    found = reads.find_point(asked, text)
    if (tombstone := found.deleted) is not None:
        raise NotFound(
            f"restore point {found.restore_point_id} of {found.machine} was deleted",
            code="restore-point-deleted",
            why=f"by {tombstone.actor} at {tombstone.recorded_at:%Y-%m-%dT%H:%M:%SZ} "
            f"({tombstone.rule}: {tombstone.reason})",
        )
    return found


def machine_id_of(reads: CatalogReads, asked: Asked, text: str | None) -> UUID | None:
    """The machine that `text` names, None for none."""
    return None if text is None else reads.find_machine(asked, text).machine_id


@app.command()
def machines(context: typer.Context, as_of: AsOfOption = None, as_json: JsonOption = False) -> None:
    """List the machines and what is kept of them."""
    with reads_of(context, as_of) as (reads, asked):
        found = list(every_row(reads.machines, asked))
    names = machine_names(found)
    rows = [{"machine": names[row.machine_id], **_fields(row)} for row in found]
    columns = [
        "machine",
        "source",
        "disks",
        "size_bytes",
        "restore_points",
        "stored_bytes",
        "last_point_at",
        "last_result",
    ]
    print_rows(rows, columns, as_json=as_json)


@app.command()
def points(
    context: typer.Context,
    machine: Annotated[str | None, typer.Argument(metavar="[MACHINE]")] = None,
    as_of: AsOfOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the restore points, the newest last."""
    with reads_of(context, as_of) as (reads, asked):
        of = machine_id_of(reads, asked, machine)
        found = list(every_row(lambda one: reads.restore_points(one, machine_id=of, newest_first=False), asked))
    rows = [{"restore_point": row.restore_point_id.hex, **_fields(row)} for row in found]
    if not as_json:
        rows = [{**row, "restore_point": row["restore_point"][:SHORT]} for row in rows]
    columns = [
        "restore_point",
        "machine",
        "recorded_at",
        "origin",
        "result",
        "size_bytes",
        "changed_bytes",
        "stored_bytes",
        "verified_result",
    ]
    print_rows(rows, columns, as_json=as_json)


@app.command()
def show(context: typer.Context, point: PointArgument, as_of: AsOfOption = None, as_json: JsonOption = False) -> None:
    """Show one restore point, its disks, and the files that describe its machine."""
    with Catalog.opened(home_of(context)) as catalog, _reads_in(catalog, as_of) as (reads, asked):
        found = point_of(reads, asked, point)
        disks = [_fields(row) for row in reads.point_disks(asked, found.restore_point_id).rows]
        out = reads.left_out(asked, found.restore_point_id)
        kept = configuration_of(catalog.log, found.run_id)
    files = [{"file": part.name, "size_bytes": part.size_bytes} for part in kept.files] if kept else []
    record = _fields(found)
    left_out = [{"disk": disk.label, "reason": disk.reason, "way_out": disk.way_out} for disk in out]
    record["restore_point"] = record.pop("restore_point_id").hex
    if as_json:
        print_json({**record, "disks": disks, "left_out": left_out, "configuration": files})
        return
    print_record(
        {
            name: record[name]
            for name in (
                "restore_point",
                "machine",
                "source",
                "recorded_at",
                "origin",
                "result",
                "consistency",
                "size_bytes",
                "verified_level",
                "verified_result",
                "verified_at",
            )
        },
        as_json=False,
    )
    columns = [
        "label",
        "seq",
        "level",
        "cause",
        "chain_points",
        "size_bytes",
        "changed_bytes",
        "read_bytes",
        "stored_bytes",
    ]
    print_rows(disks, columns, as_json=False)
    if left_out:
        print_rows(left_out, ["disk", "reason", "way_out"], as_json=False)
    if files:
        print_rows(files, ["file", "size_bytes"], as_json=False)


@app.command()
def events(
    context: typer.Context,
    machine: Annotated[str | None, typer.Option(help="Only what is about one machine.")] = None,
    after: Annotated[int, typer.Option(help="Only what follows this position.")] = 0,
    limit: Annotated[int, typer.Option(help="How many, at most 1000.")] = 100,
    as_of: AsOfOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the events: everything that ever happened, in order."""
    with reads_of(context, as_of) as (reads, asked):
        of = machine_id_of(reads, asked, machine)
        found = reads.events(replace(asked, limit=limit, after=(after,)), machine_id=of).rows
    rows = [{**_fields(row), "body": msgspec.json.decode(row.body)} for row in found]
    print_rows(rows, ["position", "recorded_at", "topic", "rows", "state_bytes", "body"], as_json=as_json)


def _fields(row: msgspec.Struct) -> dict[str, Any]:
    return msgspec.structs.asdict(row)

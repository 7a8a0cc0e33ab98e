"""`holdfast machines`, `points`, `show` and `events`: what there is and what happened.

Imports `catalog`. Each answer is of one position of the index, which first catches up with the log.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import msgspec
import typer

from catalog.cli.app import JsonOption, app, home_of
from catalog.cli.output import print_json, print_record, print_rows
from catalog.queries.index import Index
from catalog.queries.names import machine_names
from catalog.runtime import Catalog

PointArgument = Annotated[str, typer.Argument(metavar="POINT", help="A restore point, latest, or latest:MACHINE.")]
SHORT = 12


@contextmanager
def index_of(context: typer.Context) -> Iterator[tuple[Catalog, Index]]:
    """Open the catalog and its index, up to the log."""
    with Catalog.opened(home_of(context)) as catalog:
        catalog.catch_up()
        with Index(catalog.lake) as index:
            yield catalog, index


@app.command()
def machines(context: typer.Context, as_json: JsonOption = False) -> None:
    """List the machines and what is kept of them."""
    with index_of(context) as (_, index):
        found = index.machines()
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
    as_json: JsonOption = False,
) -> None:
    """List the restore points, the newest last."""
    with index_of(context) as (_, index):
        found = index.restore_points(index.find_machine(machine).machine_id if machine else None)
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
def show(context: typer.Context, point: PointArgument, as_json: JsonOption = False) -> None:
    """Show one restore point and its disks."""
    with index_of(context) as (catalog, index):
        found = catalog.find_point(point)
        record = _fields(index.restore_point(found.restore_point_id))
        disks = [_fields(row) for row in index.disks(found.restore_point_id)]
    left_out = [{"disk": disk.label, "reason": disk.reason, "way_out": disk.way_out} for disk in found.left_out]
    record["restore_point"] = record.pop("restore_point_id").hex
    if as_json:
        print_json({**record, "disks": disks, "left_out": left_out})
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


@app.command()
def events(
    context: typer.Context,
    machine: Annotated[str | None, typer.Option(help="Only what is about one machine.")] = None,
    after: Annotated[int, typer.Option(help="Only what follows this position.")] = 0,
    limit: Annotated[int, typer.Option(help="How many, at most 1000.")] = 100,
    as_json: JsonOption = False,
) -> None:
    """List the events: everything that ever happened, in order."""
    with index_of(context) as (_, index):
        machine_id = index.find_machine(machine).machine_id if machine else None
        found = index.events(after=after, limit=limit, machine_id=machine_id)
    rows = [{**_fields(row), "body": msgspec.json.decode(row.body)} for row in found]
    print_rows(rows, ["position", "recorded_at", "topic", "rows", "state_bytes", "body"], as_json=as_json)


def _fields(row: msgspec.Struct) -> dict[str, Any]:
    return msgspec.structs.asdict(row)

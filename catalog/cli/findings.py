"""`holdfast coverage`, `refs` and `provenance`: was it backed up, who holds a chunk, what is a point made of.

Imports `catalog`. Each answer is of one position of the index, which first catches up with the log.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Annotated, Any

import msgspec
import typer

from catalog.cli.app import JsonOption, app
from catalog.cli.output import print_json, print_record, print_rows
from catalog.cli.prove import moment, span_seconds
from catalog.cli.reads import AsOfOption, PointArgument, every_row, point_of, reads_of
from catalog.queries.rows import CoverageRow
from catalog.runtime import utc_now
from storage.errors import EXIT_GAPS, Invalid


@app.command()
def coverage(
    context: typer.Context,
    machine: Annotated[str, typer.Argument(metavar="MACHINE", help="NAME, SOURCE/NAME or identifier.")],
    since: Annotated[str, typer.Option("--from", metavar="D", help="First day (UTC), or a time with its zone.")],
    until: Annotated[
        str | None, typer.Option("--to", metavar="D", help="Last day (UTC), or the time it ends; now if not given.")
    ] = None,
    rpo: Annotated[str, typer.Option(help="How old the newest restore point may ever be: 90m, 24h, 7d.")] = "24h",
    accept_left_out: Annotated[
        list[str] | None, typer.Option(metavar="LABEL", help="A disk that restore points may lack; repeat for more.")
    ] = None,
    as_of: AsOfOption = None,
    as_json: JsonOption = False,
) -> int:
    """Say whether a machine was backed up often enough; exit 0 if it was, 1 if there are gaps."""
    start = moment(since, end=False)
    with reads_of(context, as_of) as (reads, asked):
        report = reads.coverage(
            asked,
            reads.find_machine(asked, machine).machine_id,
            start=start,
            end=utc_now() if until is None else moment(until, end=True),
            rpo=timedelta(seconds=span_seconds(rpo)),
            accepted=accept_left_out or (),
        )
    _print_coverage(report, as_json=as_json)
    return 0 if report.covered else EXIT_GAPS


@app.command()
def refs(
    context: typer.Context,
    digest: Annotated[str, typer.Argument(metavar="DIGEST", help="64 hex digits, as in the view chunks.")],
    inherited: Annotated[
        bool, typer.Option("--inherited", help="Also for how long: every point that holds it, written or inherited.")
    ] = False,
    as_of: AsOfOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the restore points that hold a chunk, and the blocks where."""
    if not re.fullmatch(r"[0-9a-fA-F]{64}", digest):
        raise Invalid(f"{digest[:80]!r} is no digest", code="digest-text", hint="64 hex digits")
    with reads_of(context, as_of) as (reads, asked):
        wanted = bytes.fromhex(digest)
        rows = [
            _fields(row) for row in every_row(lambda one: reads.references(one, wanted, inherited=inherited), asked)
        ]
    columns = ["machine", "label", "restore_point_id", "seq", "first_block", "blocks", "recorded_at"]
    print_rows(rows, [*columns, "points", "until_restore_point_id"] if inherited else columns, as_json=as_json)


@app.command()
def provenance(
    context: typer.Context, point: PointArgument, as_of: AsOfOption = None, as_json: JsonOption = False
) -> None:
    """Show which restore points supply which share of each disk of a point."""
    with reads_of(context, as_of) as (reads, asked):
        found = point_of(reads, asked, point).restore_point_id
        rows = [_fields(row) for row in every_row(lambda one: reads.provenance(one, found), asked)]
    shown = rows if as_json else [{**row, "share": f"{row['share']:.1%}"} for row in rows]
    print_rows(shown, ["label", "seq", "restore_point_id", "recorded_at", "blocks", "bytes", "share"], as_json=as_json)


def _print_coverage(report: CoverageRow, *, as_json: bool) -> None:
    if as_json:
        print_json(_fields(report))
        return
    names = ("start", "end", "known_from", "points", "verified_points", "damaged_points", "deleted_points")
    record: dict[str, Any] = {"machine": f"{report.source}/{report.machine}", "covered": report.covered}
    print_record({**record, **{name: getattr(report, name) for name in names}}, as_json=False)
    if report.gaps:
        print_rows(
            [{**_fields(gap), "hours": f"{_hours(gap.start, gap.end):.1f}"} for gap in report.gaps],
            ["start", "end", "hours"],
            as_json=False,
        )
    if report.left_out:
        print_rows([_fields(disk) for disk in report.left_out], ["label", "points"], as_json=False)


def _hours(start: datetime, end: datetime) -> float:
    return (end - start) / timedelta(hours=1)


def _fields(row: msgspec.Struct) -> dict[str, Any]:
    return msgspec.structs.asdict(row)

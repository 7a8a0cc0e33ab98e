"""`holdfast forget`: take a restore point out of the catalog, with a reason that stays.

Imports `catalog.deletion` and `ingest.wiring`. Nothing that other points need is touched.
"""

from __future__ import annotations

import getpass
import sys
from typing import Annotated, Any

import typer

from catalog.cli.app import JsonOption, app
from catalog.cli.output import print_record, say
from catalog.deletion import Deletion, delete_point, plan_deletion
from ingest.cli.index import follow
from ingest.cli.work import working
from ingest.wiring import Services
from storage.errors import Invalid


@app.command()
def forget(
    context: typer.Context,
    point: Annotated[str, typer.Argument(metavar="POINT", help="A restore point, latest, or latest:MACHINE.")],
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why; it stays in the record.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what it would mean.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Delete a restore point. Later points that build on it stay whole."""
    with working(context) as services:
        planned = _planned(services, point)
        if dry_run:
            print_record(_record(planned, deleted=False), as_json=as_json)
            return
        if not yes:
            _confirm(planned)
        delete_point(
            services.log,
            planned.point.machine_id,
            planned.point.restore_point_id,
            actor=getpass.getuser(),
            reason=reason,
            clock=services.clock,
        )
        follow(services)
    print_record(_record(planned, deleted=True), as_json=as_json)


def _planned(services: Services, text: str) -> Deletion:
    found = services.catalog.find_point(text)
    return plan_deletion(services.catalog.machine_named(str(found.machine_id)), found.restore_point_id)


def _confirm(planned: Deletion) -> None:
    if not sys.stdin.isatty():
        raise Invalid("nobody is here to confirm this", code="unconfirmed", hint="say --yes, or look with --dry-run")
    say(f"{planned.point.machine}: restore point {planned.point.restore_point_id.hex}")
    say(f"recorded at {planned.point.recorded_at:%Y-%m-%d %H:%M:%S} UTC, {_meaning(planned)}")
    typer.confirm("Delete it?", abort=True, err=True)


def _meaning(planned: Deletion) -> str:
    users = len(planned.kept_for)
    later = f"{users} later restore points build on it and stay whole" if users else "no other restore point needs it"
    return f"{later}; the next incremental builds on it all the same" if planned.is_base else later


def _record(planned: Deletion, *, deleted: bool) -> dict[str, Any]:
    return {
        "restore_point": planned.point.restore_point_id.hex,
        "machine": planned.point.machine,
        "recorded_at": planned.point.recorded_at,
        "kept_for": [point.restore_point_id.hex for point in planned.kept_for],
        "next_builds_on_it": planned.is_base,
        "deleted": deleted,
    }

"""`holdfast backup` and `holdfast synth`: new restore points.

Imports `ingest.backup`, `ingest.synth`. An interrupt finishes the pack, keeps it, and exits 130.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Annotated, Any

import typer

from catalog.cli.app import JsonOption, app
from catalog.cli.output import print_error, print_json, print_rows, say
from catalog.domain.events import RestorePointCommitted
from catalog.domain.facts import DiskPoint
from ingest.backup import BackupOutcome, BackupRequest, backup, machine_lock
from ingest.cli.index import follow, warn_of_index
from ingest.cli.work import working
from ingest.flow import BackupReport
from ingest.progress import shown
from ingest.signals import stop_on_signals
from ingest.synth import summarise, synthesise
from storage.errors import EXIT_CODES, EXIT_INTERRUPTED, EXIT_PARTIAL

MAX_PARALLEL = 64
COLUMNS = ["restore_point", "machine", "disk", "level", "cause", "changed_bytes", "read_bytes", "stored_bytes"]


@app.command("backup")
def backup_command(
    context: typer.Context,
    target: Annotated[str, typer.Argument(metavar="SOURCE[/MACHINE]")],
    full: Annotated[bool, typer.Option("--full", help="Read everything, whatever the change tracking says.")] = False,
    parallel: Annotated[
        int, typer.Option("--parallel", metavar="N", min=1, max=MAX_PARALLEL, help="So many machines at once.")
    ] = 1,
    as_json: JsonOption = False,
) -> int:
    """Back up a source, or one machine of it; incrementally where that is possible."""
    source, _, machine = target.partition("/")
    request = BackupRequest(source, machine or None, full=full, parallel=parallel)
    with working(context) as services, stop_on_signals() as stop, shown(time.monotonic) as progress:
        outcome = backup(services, request, progress=progress, stop=stop)
    _print(outcome.reports, as_json=as_json)
    return _tell(outcome, as_json=as_json)


def _print(reports: list[BackupReport], *, as_json: bool) -> None:
    if as_json:
        print_json([_record(report) for report in reports])
        return
    rows = [
        {"restore_point": report.restore_point_id.hex[:12], "machine": report.machine, **_disk(disk)}
        for report in reports
        for disk in report.disks
    ]
    print_rows(rows, COLUMNS, as_json=False)


def _record(report: BackupReport) -> dict[str, Any]:
    return {
        "restore_point": report.restore_point_id.hex,
        "machine": report.machine,
        "result": report.result,
        "recorded_at": report.recorded_at,
        "consistency": report.consistency,
        "disks": [_disk(disk) for disk in report.disks],
        "left_out": [{"disk": disk.label, "reason": disk.reason, "way_out": disk.way_out} for disk in report.left_out],
        "warnings": list(report.warnings),
    }


def _disk(point: DiskPoint) -> dict[str, Any]:
    return {
        "disk": point.label,
        "level": point.level,
        "cause": point.cause,
        "size_bytes": point.size_bytes,
        "changed_bytes": point.changed_bytes,
        "read_bytes": point.read_bytes,
        "new_chunks": point.new_chunks,
        "stored_bytes": point.stored_bytes,
    }


def _tell(outcome: BackupOutcome, *, as_json: bool) -> int:
    for done in outcome.tidied:
        say(f"warning: {done}")
    for report in outcome.reports:
        for warning in report.warnings:
            say(f"warning: {report.machine}: {warning}")
        for disk in report.left_out:
            say(f"warning: {report.machine}: {disk.label} is not in it: {disk.reason}; {disk.way_out}")
    if outcome.index_trouble is not None:
        warn_of_index(outcome.index_trouble)
    for failure in outcome.failures:
        if not as_json:
            say(f"{failure.machine}: no restore point")
        print_error(failure.error, as_json=as_json)
    return _exit_code(outcome)


def _exit_code(outcome: BackupOutcome) -> int:
    if outcome.interrupted:
        say("interrupted: what was stored is kept, and the next run reuses it")
        return EXIT_INTERRUPTED
    if outcome.failures and not outcome.reports:
        return EXIT_CODES[outcome.failures[0].error.kind]
    partial = outcome.failures or any(report.result == "partial" for report in outcome.reports)
    return EXIT_PARTIAL if partial else 0


@app.command()
def synth(
    context: typer.Context,
    machine: Annotated[str, typer.Argument(metavar="MACHINE")],
    at: Annotated[str | None, typer.Option(metavar="POINT", help="The restore point; the newest if not named.")] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Only say what it would hold.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Make a synthetic full of a restore point, without moving data."""
    with working(context) as services:
        services.catalog.catch_up()
        state = services.catalog.machine_named(machine)
        with machine_lock(services, state, "worked on"):
            state = services.catalog.machine_named(machine)
            of = state.restore_point(services.catalog.find_point(at or f"latest:{machine}").restore_point_id)
            if plan:
                rows = [asdict(row) for row in summarise(services.catalog.index_resolver(), state, of)]
                print_rows(rows, ["disk", "chain_points", "size_bytes", "data_bytes", "packs"], as_json=as_json)
                return
            made = synthesise(services, services.catalog.index_resolver(), state, of)
        follow(services)
    _print_synthetic(made, as_json=as_json)


def _print_synthetic(made: RestorePointCommitted, *, as_json: bool) -> None:
    record = {
        "restore_point": made.restore_point_id.hex,
        "machine": made.machine,
        "result": made.result,
        "recorded_at": made.recorded_at,
        "of_restore_point": made.of_restore_point.hex if made.of_restore_point else None,
        "disks": [{**_disk(disk), "chunk_rows": disk.chunk_rows} for disk in made.disks],
    }
    if as_json:
        print_json(record)
    else:
        rows = [
            {
                "restore_point": made.restore_point_id.hex[:12],
                "machine": made.machine,
                "disk": disk.label,
                "level": disk.level,
                "chunks": disk.chunk_rows,
                "read_bytes": disk.read_bytes,
            }
            for disk in made.disks
        ]
        print_rows(rows, ["restore_point", "machine", "disk", "level", "chunks", "read_bytes"], as_json=False)

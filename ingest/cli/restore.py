"""`holdfast restore` and `holdfast export`: bytes back, as files or as a disk to boot from.

Imports `ingest.restore`, `ingest.export`. Each is recorded: who got what back is part of the history.
"""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path
from typing import Annotated

import typer

from catalog.cli.app import JsonOption, app
from catalog.cli.output import print_json, print_record, print_rows, say
from ingest.cli.work import working
from ingest.export import export_disk, local_address, uri_of
from ingest.progress import shown
from ingest.resolving import resolution
from ingest.restore import Format
from ingest.restoreflow import RestoreRequest, chosen_disks, restore_point
from ingest.signals import stop_on_signals
from storage.errors import EXIT_PARTIAL, Invalid

DiskOption = Annotated[str | None, typer.Option("--disk", metavar="D", help="One disk, by its label.")]


@app.command()
def restore(
    context: typer.Context,
    point: Annotated[str, typer.Argument(metavar="POINT", help="A restore point, or `latest`.")],
    to: Annotated[Path, typer.Option(metavar="PATH", help="A file; for several disks a directory.")],
    disk: DiskOption = None,
    image_format: Annotated[Format, typer.Option("--format", help="The image's format.")] = "raw",
    force: Annotated[bool, typer.Option("--force", help="Replace what is there.")] = False,
    salvage: Annotated[
        bool, typer.Option("--salvage", help="raw: leave unreadable ranges out, list them beside the image, exit 3.")
    ] = False,
    without_index: Annotated[bool, typer.Option("--without-index", help="Resolve from the event log alone.")] = False,
    as_json: JsonOption = False,
) -> int:
    """Write the disks of a restore point to files."""
    request = RestoreRequest(
        point,
        disk,
        to.expanduser().absolute(),
        image_format,
        force=force,
        salvage=salvage,
        without_index=without_index,
    )
    with working(context) as services, shown(time.monotonic) as progress:
        report = restore_point(services, request, progress=progress)
    rows = [
        {
            "path": one.path,
            "format": one.format,
            "size_bytes": one.size_bytes,
            "data_bytes": one.data_bytes,
            "damaged": [list(part) for part in one.damaged],
        }
        for one in report.disks
    ]
    print_rows(rows, ["path", "format", "size_bytes", "data_bytes"], as_json=as_json)
    if report.fallback_cause is not None and not without_index:
        _warn_of_fallback(report.fallback_cause)
    if any(one.damaged for one in report.disks):
        say("some ranges could not be read back: they are zeros in the image and listed in *.damaged.json beside it")
        return EXIT_PARTIAL
    return 0


def _warn_of_fallback(cause: str) -> None:
    say(f"warning: resolved from the event log, not from the index: {cause}")


@app.command()
def export(
    context: typer.Context,
    point: Annotated[str, typer.Argument(metavar="POINT", help="A restore point, or `latest`.")],
    nbd: Annotated[str, typer.Option(metavar="unix:PATH|HOST:PORT", help="Where to serve it.")],
    disk: DiskOption = None,
    as_json: JsonOption = False,
) -> None:
    """Serve a disk of a restore point over NBD, read-only, until interrupted."""
    address = local_address(nbd)
    with working(context) as services, stop_on_signals() as stop:
        found = services.catalog.find_point(point)
        disks = chosen_disks(found, disk)
        if len(disks) != 1:
            raise Invalid(
                f"{point} has {len(disks)} disks",
                code="disk-ambiguous",
                hint=f"choose one with --disk: {', '.join(one.label for one in disks)}",
            )
        chosen = resolution(services, found, disks)
        if chosen.cause is not None:
            _warn_of_fallback(chosen.cause)
        with export_disk(services, found, disks[0], chosen.resolver, address) as server:
            uri = uri_of(server.address)
            if as_json:
                print_json({"restore_point": found.restore_point_id.hex, "disk": disks[0].label, "uri": uri})
            else:
                print_record({"uri": uri, "disk": disks[0].label}, as_json=False)
            sys.stdout.flush()
            if not as_json:
                say(
                    "serving until interrupted; boot from it with: "
                    f"qemu-system-x86_64 -drive file={uri},format=raw,snapshot=on"
                )
            pause = threading.Event()
            while not stop():
                pause.wait(0.2)

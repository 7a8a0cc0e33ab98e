"""`holdfast restore` and `holdfast export`: bytes back, as files, at a source, or as a disk to boot from.

Imports `ingest`. Each is recorded: who got what back is part of the history.
"""

from __future__ import annotations

import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from catalog.cli.app import JsonOption, app
from catalog.cli.output import print_json, print_record, print_rows, say
from ingest.cli.wish import Wish
from ingest.cli.work import working
from ingest.configfiles import restore_configuration
from ingest.export import export_disk, local_address, uri_of
from ingest.progress import shown
from ingest.resolving import resolution
from ingest.restore import Format
from ingest.restoreflow import RestoreRequest, chosen_disks, restore_point
from ingest.signals import Interrupted, stop_on_signals
from ingest.sourcerestore import SourceRestoreRequest, restore_to_source
from storage.errors import EXIT_INTERRUPTED, EXIT_PARTIAL, Invalid

DiskOption = Annotated[str | None, typer.Option("--disk", metavar="D", help="One disk, by its label.")]


@app.command()
def restore(
    context: typer.Context,
    point: Annotated[str, typer.Argument(metavar="POINT", help="A restore point, or `latest`.")],
    to: Annotated[Path | None, typer.Option(metavar="PATH", help="A file; for several files a directory.")] = None,
    disk: DiskOption = None,
    image_format: Annotated[Format, typer.Option("--format", help="The image's format.")] = "raw",
    force: Annotated[bool, typer.Option("--force", help="Replace what is there.")] = False,
    salvage: Annotated[
        bool, typer.Option("--salvage", help="raw: leave unreadable ranges out, list them beside the image, exit 3.")
    ] = False,
    without_index: Annotated[bool, typer.Option("--without-index", help="Resolve from the event log alone.")] = False,
    configuration: Annotated[
        bool, typer.Option("--configuration", help="Not the disks, but the files that describe the machine.")
    ] = False,
    to_source: Annotated[
        str | None, typer.Option("--to-source", metavar="SOURCE", help="Make a machine of it there, powered off.")
    ] = None,
    as_name: Annotated[str | None, typer.Option("--as", metavar="NAME", help="What to call that machine.")] = None,
    in_place: Annotated[
        bool, typer.Option("--in-place", help="Overwrite the disk D of the machine that is there instead.")
    ] = False,
    as_json: JsonOption = False,
) -> int:
    """Write the disks of a restore point to files, or give them back to a source."""
    target = to.expanduser().absolute() if to else None
    wish = Wish(
        {"--to": to is not None, "--to-source": to_source is not None, "--configuration": configuration},
        {"--disk": disk is not None, "--format": image_format != "raw", "--force": force, "--salvage": salvage},
        {"--as": as_name is not None, "--in-place": in_place},
    )
    wish.check()
    if to_source is not None:
        asked = SourceRestoreRequest(
            point, to_source, name=as_name, disk=disk, in_place=in_place, without_index=without_index
        )
        return _to_source(context, asked, as_json=as_json)
    if target is None:
        raise AssertionError("it goes somewhere")
    if configuration:
        return _configuration(context, point, target, force=force, as_json=as_json)
    request = RestoreRequest(
        point, disk, target, image_format, force=force, salvage=salvage, without_index=without_index
    )
    return _to_files(context, request, as_json=as_json)


def _to_files(context: typer.Context, request: RestoreRequest, *, as_json: bool) -> int:
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
    if report.fallback_cause is not None and not request.without_index:
        _warn_of_fallback(report.fallback_cause)
    if any(one.damaged for one in report.disks):
        say("some ranges could not be read back: they are zeros in the image and listed in *.damaged.json beside it")
        return EXIT_PARTIAL
    return 0


def _configuration(context: typer.Context, point: str, to: Path, *, force: bool, as_json: bool) -> int:
    with working(context) as services:
        written = restore_configuration(services, point, to, force=force)
    print_rows([asdict(file) for file in written], ["name", "path", "size_bytes"], as_json=as_json)
    return 0


def _to_source(context: typer.Context, request: SourceRestoreRequest, *, as_json: bool) -> int:
    with working(context) as services, stop_on_signals() as stop, shown(time.monotonic) as progress:
        try:
            report = restore_to_source(services, request, progress=progress, stop=stop)
        except Interrupted:
            say("interrupted: what was made is removed, or named in the events")
            return EXIT_INTERRUPTED
    record = {name: value for name, value in asdict(report).items() if name != "fallback_cause"}
    print_record(record, as_json=as_json)
    if report.fallback_cause is not None and not request.without_index:
        _warn_of_fallback(report.fallback_cause)
    for note in report.notes:
        say(f"warning: {report.machine}: {note}")
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

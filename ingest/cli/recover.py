"""`holdfast recover` and `holdfast ship`: the catalog from the store alone, and what makes that possible.

Imports `ingest.recover`.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from catalog.cli.app import JsonOption, app, home_of
from catalog.cli.output import print_record, say
from catalog.segments.ship import ship
from ingest.aftercare import segments_of
from ingest.progress import shown
from ingest.recover import recover
from ingest.wiring import opened
from storage.errors import EXIT_PARTIAL
from storage.keys import KeyRing


@app.command("recover")
def recover_command(
    context: typer.Context,
    store: Annotated[Path, typer.Option("--from", metavar="STORE", help="The object store: what was HOME/store.")],
    key: Annotated[Path, typer.Option("--key", metavar="FILE", help="What `key export` wrote.")],
    copy: Annotated[bool, typer.Option("--copy", help="Copy the store into the home instead of using it.")] = False,
    as_json: JsonOption = False,
) -> int:
    """Make a lost home anew from its object store and its key; goes on where it was interrupted."""
    home = home_of(context)
    started = time.monotonic()
    with shown(time.monotonic) as progress:
        progress.disk("events", 0)
        report = recover(home, store, KeyRing.import_text(key.read_text()), copy=copy)
    say(f"{home.root} is there: `restore --without-index` works from now on; the index follows")
    with opened(home) as services, shown(time.monotonic) as progress:
        progress.disk("index", 0)
        bad = services.adopt_packs()
        services.catalog.catch_up()  # it was laid out empty
        packs = services.store.rebuild_index()
        ship(services.log, segments_of(services))
    record = {
        "home": str(home.root),
        "position": report.position,
        "recorded_until": report.recorded_until,
        "head": report.head,
        "segments": report.segments,
        "packs": packs.packs,
        "lost": list(report.lost),
        "unreadable_packs": bad,
        "seconds": round(time.monotonic() - started, 3),
    }
    print_record(record, as_json=as_json)
    say("compare it with a checkpoint that was kept elsewhere: holdfast ledger check --checkpoint FILE")
    return EXIT_PARTIAL if report.lost or bad else 0


@app.command("ship")
def ship_command(context: typer.Context, as_json: JsonOption = False) -> None:
    """Write to the store what it lacks of the event log; every writing command does so at its end."""
    with opened(home_of(context)) as services:
        report = ship(services.log, segments_of(services))
    print_record({"position": report.position, "segments": report.segments}, as_json=as_json)

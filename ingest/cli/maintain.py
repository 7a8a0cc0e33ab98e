"""`holdfast verify`, `rebuild` and `doctor`: trusting what is there, and putting it right.

Imports `ingest`.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Annotated, Any

import typer

from catalog.cli.app import JsonOption, app, home_of
from catalog.cli.output import print_json, print_record, print_rows, say
from ingest.cli.work import working
from ingest.doctor import examine
from ingest.progress import shown
from ingest.verify import Verifier, VerifyLevel, check_catalog
from storage.errors import EXIT_CODES, EXIT_PARTIAL

rebuild_app = typer.Typer(help="Make derived data anew.", no_args_is_help=True)
app.add_typer(rebuild_app, name="rebuild")


@app.command()
def verify(
    context: typer.Context,
    point: Annotated[str | None, typer.Argument(metavar="[POINT]", help="All, and the catalog, if not named.")] = None,
    level: Annotated[
        VerifyLevel, typer.Option(help="stored: hash the packs; content: re-hash each chunk.")
    ] = "content",
    as_json: JsonOption = False,
) -> int:
    """Read restore points back and say whether every byte is right."""
    with working(context) as services, shown(time.monotonic) as progress:
        problems = [] if point else check_catalog(services)
        points = [services.catalog.find_point(point)] if point else services.catalog.points()
        verifier = Verifier(services, level, progress)
        rows: list[dict[str, Any]] = []
        for one in points:
            event = verifier.verify(one)
            rows.append(
                {
                    "restore_point": one.restore_point_id.hex,
                    "machine": one.machine,
                    "level": level,
                    "result": event.result,
                    "chunks": event.chunks,
                    "checked_bytes": event.checked_bytes,
                    "problems": list(event.problems),
                }
            )
        if services.catalog.index_trouble() is None:
            services.catalog.catch_up()
    if as_json:
        print_json({"catalog_problems": problems, "restore_points": rows})
    else:
        print_rows(rows, ["restore_point", "machine", "level", "result", "chunks", "checked_bytes"], as_json=False)
    bad = problems + [f"{row['restore_point']}: {text}" for row in rows for text in row["problems"]]
    for text in bad:
        say(f"damaged: {text}")
    return EXIT_CODES["corrupt"] if bad else 0


@rebuild_app.command("index")
def rebuild_index(context: typer.Context, as_json: JsonOption = False) -> int:
    """Make the index anew from the events, and the chunk index from the packs."""
    started = time.monotonic()
    with working(context) as services, shown(time.monotonic) as progress:
        progress.disk("events", 0)
        position = services.catalog.rebuild_index()
        report = services.store.rebuild_index()
    record = {
        "position": position,
        "packs": report.packs,
        "chunks": report.entries,
        "seconds": round(time.monotonic() - started, 3),
    }
    for pack_id, error in report.unreadable:
        say(f"left out: pack {pack_id.hex()}: {error}")
    print_record(record, as_json=as_json)
    return EXIT_PARTIAL if report.unreadable else 0


@app.command()
def doctor(context: typer.Context, as_json: JsonOption = False) -> int:
    """Check whether this installation can be trusted tonight."""
    checks = examine(home_of(context))
    print_rows([asdict(check) for check in checks], ["status", "check", "detail", "hint"], as_json=as_json)
    return EXIT_CODES["corrupt"] if any(check.status == "fail" for check in checks) else 0

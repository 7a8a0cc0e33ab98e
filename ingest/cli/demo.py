"""`holdfast demo`: the tour. Imports `ingest.demo`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from catalog.cli.app import JsonOption, app
from ingest.demo import run_demo


@app.command()
def demo(
    directory: Annotated[Path, typer.Option("--dir", help="Where to put it; made anew.")] = Path("holdfast-demo"),
    stay: Annotated[
        bool | None, typer.Option("--stay/--no-stay", help="Serve the page until interrupted [on a terminal].")
    ] = None,
    as_json: JsonOption = False,
) -> int:
    """Back a machine up four times, restore a synthetic full, compare every byte, and serve the page."""
    stays = sys.stdout.isatty() and not as_json if stay is None else stay
    return run_demo(directory.absolute(), as_json=as_json, stay=stays)

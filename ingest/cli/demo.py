"""`holdfast demo`: the tour. Imports `ingest.demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from catalog.cli.app import JsonOption, app
from ingest.demo import run_demo


@app.command()
def demo(
    directory: Annotated[Path, typer.Option("--dir", help="Where to put it; made anew.")] = Path("holdfast-demo"),
    as_json: JsonOption = False,
) -> int:
    """Back a machine up four times, restore a synthetic full, and compare every byte."""
    return run_demo(directory.absolute(), as_json=as_json)

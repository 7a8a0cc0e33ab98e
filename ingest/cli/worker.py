"""`holdfast worker`: does what callers of the service ask for. Imports `ingest.worker`."""

from __future__ import annotations

import os
import socket
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from catalog.cli.app import JsonOption, app, home_of
from catalog.cli.output import say
from catalog.cli.tasks import task_line
from ingest.signals import stop_on_signals
from ingest.wiring import load_keys
from ingest.worker.housekeeping import Housekeeping
from ingest.worker.worker import Worker, WorkerSettings
from storage.errors import Invalid


@app.command()
def worker(
    context: typer.Context,
    restore_to: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Restores go below it; without it they are refused.")
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Do what there is, then end.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Do the tasks that callers asked for, one after another, until it is told to go."""
    home = home_of(context)
    load_keys(home, home.read_config())
    folder = restore_to.expanduser().absolute() if restore_to else None
    if folder is not None and not folder.is_dir():
        raise Invalid(f"{folder} is not a directory", code="restore-folder", hint="make it first")
    settings = WorkerSettings(f"{socket.gethostname()}:{os.getpid()}", folder)
    with stop_on_signals() as stop:
        Worker(
            home,
            settings,
            tell=lambda state: _print(task_line(state, as_json=as_json)),
            warn=_warn,
            housekeeping=[Housekeeping(home, warn=_warn, monotonic=time.monotonic)],
        ).run(stop, once=once)


def _warn(text: str) -> None:
    say(f"warning: {text}")


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()

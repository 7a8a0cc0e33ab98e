"""The application object both halves add their commands to, and what every command shares.

Imports typer. Errors become text (or JSON) on standard error and an exit code, in one place.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from catalog.cli.output import print_error
from catalog.home import Home
from storage.errors import EXIT_INTERRUPTED

app = typer.Typer(
    name="holdfast",
    help="An event-sourced backup catalog for virtual machines.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.callback()
def options(
    context: typer.Context,
    home: Annotated[
        Path | None, typer.Option("--home", help="The repository's home [HOLDFAST_HOME, ~/.local/share/holdfast].")
    ] = None,
) -> None:
    """Ask and fill the backup catalog."""
    context.obj = Home.locate(home, os.environ)


def home_of(context: typer.Context) -> Home:
    """The home that the command line chose."""
    home = context.obj
    if not isinstance(home, Home):
        raise TypeError("the command runs without its application")
    return home


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code."""
    as_json = "--json" in arguments
    try:
        result = app(arguments, standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        return EXIT_INTERRUPTED
    except Exception as error:
        if hasattr(error, "kind"):
            return print_error(error, as_json=as_json)
        if hasattr(error, "exit_code") and hasattr(error, "show"):
            error.show(sys.stderr)
            return int(error.exit_code)
        raise
    return result if isinstance(result, int) else 0

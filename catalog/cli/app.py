"""The application object both halves add their commands to, and what every command shares.

Imports typer. Errors become text (or JSON) on standard error and an exit code, in one place.
"""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from catalog.cli.output import print_error
from catalog.home import Home
from storage.errors import (
    EXIT_CODES,
    EXIT_INTERRUPTED,
    Denied,
    HoldfastError,
    Invalid,
    Limit,
    NotFound,
    Unavailable,
)

EXIT_BROKEN_PIPE = 1
"""As click has it when the reader goes while a command still writes."""

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
        sys.stdout.flush()
    except (KeyboardInterrupt, typer.Abort):
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # Whoever read has read enough; the interpreter must not meet the pipe again when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_BROKEN_PIPE
    except Exception as error:
        code = _failed(error, as_json=as_json)
        if code is None:
            raise
        return code
    return result if isinstance(result, int) else 0


def _failed(error: Exception, *, as_json: bool) -> int | None:
    """Say what is a person's business and return its exit code; None for a fault of ours."""
    if hasattr(error, "kind"):
        return print_error(error, as_json=as_json)
    if hasattr(error, "format_message") and hasattr(error, "show"):
        if as_json:
            return print_error(Invalid(error.format_message(), code="usage", hint="--help"), as_json=True)
        error.show(sys.stderr)
        return EXIT_CODES["invalid"]
    if isinstance(error, OSError):
        return print_error(_of_system(error), as_json=as_json)
    return None


def _of_system(error: OSError) -> HoldfastError:
    what = f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error)
    kinds: dict[type[OSError], type[HoldfastError]] = {FileNotFoundError: NotFound, PermissionError: Denied}
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Limit(what, code="system-full")
    return kinds.get(type(error), Unavailable)(what, code="system")

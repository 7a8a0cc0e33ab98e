"""A home open for the length of a writing command, and what follows the work. Imports `ingest.aftercare`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from catalog.cli.app import home_of
from catalog.cli.output import say
from ingest.aftercare import care
from ingest.wiring import Services, opened


@contextmanager
def working(context: typer.Context) -> Iterator[Services]:
    """The services of the home that was chosen; what they recorded leaves the house however the block ends."""
    with opened(home_of(context)) as services:
        try:
            yield services
        finally:
            for trouble in care(services):
                say(f"warning: {trouble}; the next command tries again")

"""Letting the index follow what a command recorded; the command succeeded whatever becomes of that.

Imports `ingest.wiring`.
"""

from __future__ import annotations

from catalog.cli.output import say
from ingest.wiring import Services


def follow(services: Services) -> None:
    """Bring the index up to the log, or say why not."""
    trouble = services.catalog.index_trouble()
    if trouble is not None:
        warn_of_index(trouble)


def warn_of_index(trouble: str) -> None:
    """Say that the index is not usable, and what to do."""
    say(f"warning: the index does not follow: {trouble}; make it anew with: holdfast rebuild index")

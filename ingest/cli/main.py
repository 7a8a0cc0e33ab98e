"""The console script: both halves of the command line on one application object.

Importing a module registers its commands. Only the module of the command at hand is imported, since DuckDB and Arrow
take longer to load than most commands run; help and mistakes see them all.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module

from catalog.cli.app import run

MODULES = {
    "catalog.cli.reads": ("machines", "points", "show", "events"),
    "catalog.cli.findings": ("coverage", "refs", "provenance"),
    "catalog.cli.sql": ("sql",),
    "catalog.cli.serve": ("serve",),
    "catalog.cli.tables": ("export-tables", "share-lake"),
    "catalog.cli.token": ("token",),
    "catalog.cli.ledger": ("ledger",),
    "catalog.cli.prove": ("prove",),
    "ingest.cli.repository": ("init", "key"),
    "ingest.cli.source": ("source",),
    "ingest.cli.backup": ("backup", "synth"),
    "ingest.cli.restore": ("restore", "export"),
    "ingest.cli.forget": ("forget",),
    "ingest.cli.maintain": ("verify", "rebuild", "doctor"),
    "ingest.cli.recover": ("recover", "ship"),
    "catalog.cli.tasks": ("tasks",),
    "ingest.cli.worker": ("worker",),
    "ingest.cli.receive": ("receive",),
    "ingest.cli.agent": ("agent",),
    "ingest.cli.demo": ("demo",),
}


def register(arguments: Sequence[str]) -> None:
    """Import the module of the command that `arguments` name, or all of them when it is not plain which."""
    command = next((word for word in _without_home(arguments) if not word.startswith("-")), None)
    chosen = [module for module, commands in MODULES.items() if command in commands]
    for module in chosen or MODULES:
        import_module(module)


def _without_home(arguments: Sequence[str]) -> Sequence[str]:
    return arguments[2:] if arguments[:1] == ["--home"] else arguments


def main() -> None:
    """Run the command line of this process. SIGTERM unwinds as SIGINT does: files half written are removed."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # No linear algebra is done here: its threads would only spin at start-up.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    arguments = sys.argv[1:]
    register(arguments)
    sys.exit(run(arguments))

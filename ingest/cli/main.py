"""The console script: both halves of the command line on one application object.

Imports `catalog.cli` and the commands here, whose import registers them.
"""

from __future__ import annotations

import signal
import sys

from catalog.cli import reads, sql
from catalog.cli.app import run
from ingest.cli import backup, maintain, repository, restore, source

COMMANDS = (reads, sql, repository, source, backup, restore, maintain)


def main() -> None:
    """Run the command line of this process. SIGTERM unwinds as SIGINT does: files half written are removed."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(run(sys.argv[1:]))

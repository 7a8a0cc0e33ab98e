"""The console script: both halves of the command line on one application object.

Imports `catalog.cli` and the commands here, whose import registers them.
"""

from __future__ import annotations

import sys

from catalog.cli import reads, sql
from catalog.cli.app import run
from ingest.cli import backup, maintain, repository, restore, source

COMMANDS = (reads, sql, repository, source, backup, restore, maintain)


def main() -> None:
    """Run the command line of this process."""
    sys.exit(run(sys.argv[1:]))

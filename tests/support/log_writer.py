"""A process that writes to a log until it is done or killed, and prints the position of each finished save.

    python -m tests.support.log_writer PATH STREAM SAVES SHARED

With SHARED 1 another process may write the same stream: after a conflict it looks again.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from uuid import UUID

from catalog.log import EventLog
from storage.errors import Conflict
from tests.support.log_events import note

EVENTS_PER_SAVE = 3
TEXT = os.urandom(30_000).hex()


def main(path: str, stream: str, saves: str, shared: str) -> None:
    """Save three events of some 60 kB each, `saves` times."""
    originator_id, done = UUID(stream), 0
    with EventLog.open(Path(path)) as log:
        while done < int(saves):
            first = log.version(originator_id) + 1
            text = f"{os.getpid()} {done}" + TEXT
            events = [note(version, text, originator_id) for version in range(first, first + EVENTS_PER_SAVE)]
            try:
                position = log.save(*events)
            except Conflict:
                if shared == "1":
                    continue
                raise
            done += 1
            sys.stdout.write(f"{position}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])

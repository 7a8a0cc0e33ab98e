"""Run as a script: project a log into a lake and die by SIGKILL at a chosen moment.

Arguments: the folder of both; `fsync`, `before-commit`, `after-commit` or `never`; at which time that happens.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from catalog.log import EventLog
from catalog.projections import TABLES, Projector
from storage.lake import Lake

COMMIT_BYTES = 20_000


def main(root: Path, moment: str, time: int) -> None:
    """Arm the moment, then project."""
    counter = itertools.count(1)

    def die() -> None:
        if next(counter) == time:
            os.kill(os.getpid(), signal.SIGKILL)

    if moment == "fsync":
        os.fsync = _around(os.fsync, die, None)
    elif moment == "before-commit":
        Lake.commit = _around(Lake.commit, die, None)  # type: ignore[method-assign]  # to die inside
    elif moment == "after-commit":
        Lake.commit = _around(Lake.commit, None, die)  # type: ignore[method-assign]  # to die inside
    with EventLog.open(root / "events.sqlite") as log, closing(Lake.open(root / "index", TABLES)) as lake:
        position = Projector(log, lake, commit_bytes=COMMIT_BYTES).catch_up()
    sys.stdout.write(f"{position}\n")


def _around(work: Any, before: Callable[[], None] | None, after: Callable[[], None] | None) -> Any:
    def wrapped(*args: Any, **fields: Any) -> Any:
        if before is not None:
            before()
        result = work(*args, **fields)
        if after is not None:
            after()
        return result

    return wrapped


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))

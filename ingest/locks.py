"""One piece of work on one machine at a time: advisory file locks that die with their process.

Imports `ingest.signals` and `storage.errors`. A lock file is never removed, so two holders can't lock two inodes.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ingest.signals import go_on
from storage.errors import Conflict

STEP_S = 0.1


@contextmanager
def exclusive(directory: Path, name: str, *, busy: str, wait_until: Callable[[], bool] | None = None) -> Iterator[None]:
    """Hold the lock `name` for the block; raise Conflict with the text `busy` when another process holds it.

    With `wait_until` wait for it instead, and raise Interrupted when that says so.
    """
    directory.mkdir(parents=True, exist_ok=True)
    handle = os.open(directory / f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while not _taken(handle):
            if wait_until is None:
                raise Conflict(busy, code="busy", hint="wait until it is done, or look at: holdfast events")
            go_on(wait_until)
            time.sleep(STEP_S)
        yield
    finally:
        os.close(handle)


def _taken(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True

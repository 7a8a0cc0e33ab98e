"""One projector at a time for each index, by an advisory lock that dies with its process. Imports nothing of ours."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOCK_NAME = "projector.lock"
STEP_SECONDS = 0.02


@contextmanager
def held(path: Path, wait_seconds: float) -> Iterator[bool]:
    """Hold the lock at `path` for the body; yields False when it was not free within `wait_seconds`."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        yield _taken(handle, time.monotonic() + wait_seconds)
    finally:
        os.close(handle)


def _taken(handle: int, until: float) -> bool:
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                return False
            time.sleep(STEP_SECONDS)
        else:
            return True

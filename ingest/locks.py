"""One piece of work on one machine at a time: advisory file locks that die with their process.

Imports `storage.errors` only. A lock file is never removed, so two holders can't lock two inodes.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from storage.errors import Conflict


@contextmanager
def exclusive(directory: Path, name: str, *, busy: str) -> Iterator[None]:
    """Hold the lock `name` for the block; raise Conflict with the text `busy` when another process holds it."""
    directory.mkdir(parents=True, exist_ok=True)
    handle = os.open(directory / f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict(busy, code="busy", hint="wait until it is done, or look at: holdfast events") from None
        yield
    finally:
        os.close(handle)

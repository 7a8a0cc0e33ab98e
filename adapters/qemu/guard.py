"""Watching the scratch space, so that a snapshot gives way before the guest has to.

Imports `adapters.errors` and this package. While a snapshot is open, QEMU copies old data to scratch before
the guest may overwrite it; when scratch is full, QEMU refuses the guest's write. QEMU 7.2 has no option to
break the backup instead, so this thread drops the snapshot when free space falls below a reserve, or when
the guest was paused by a refused write; it then goes on as if nothing had happened.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from threading import Event, Lock, Thread

from adapters.errors import AdapterError, SourceLimit, SourceUnavailable
from adapters.qemu.qmp import Qmp
from adapters.qemu.views import RunState

_INTERVAL_SECONDS = 0.1


def free_bytes(directory: Path) -> int:
    """Return the space that is left where scratch files grow. Raises SourceUnavailable when it cannot be told."""
    try:
        status = os.statvfs(directory)
    except OSError as error:
        raise SourceUnavailable(
            f"The scratch directory {directory} is gone", code="scratch-gone", why=error.strerror or ""
        ) from None
    return status.f_bavail * status.f_frsize


def scratch_full(directory: Path, why: str) -> SourceLimit:
    """Build the error of a snapshot that gave way."""
    return SourceLimit(
        f"The scratch space in {directory} is full",
        code="scratch-full",
        why=why,
        hint="Give the source a scratch directory with room for what the guest overwrites during a backup.",
    )


class ScratchGuard:
    """Runs from `start` to `stop`; `failure` says why the snapshot was dropped, if it was.

    `connecting` is held while a reader connects, and while the snapshot is taken down: see `parts.remove_parts`.
    """

    def __init__(self, qmp: Qmp, directory: Path, reserve_bytes: int, drop: Callable[[], object]) -> None:
        self.failure: AdapterError | None = None
        self.connecting = Lock()
        self._qmp = qmp
        self._directory = directory
        self._reserve_bytes = reserve_bytes
        self._drop = drop
        self._stop = Event()
        self._thread = Thread(target=self._watch, name="scratch-guard", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> None:
        """End the watch; returns when a drop in progress is complete."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def check(self) -> None:
        """Raise the failure, if there is one."""
        if self.failure is not None:
            raise self.failure

    def _watch(self) -> None:
        while not self._stop.wait(_INTERVAL_SECONDS):
            try:
                why = self._danger()
                if why is None:
                    continue
                self.failure = scratch_full(self._directory, why)
                with self.connecting:
                    self._drop()
            except AdapterError as error:
                self.failure = self.failure or error
            return

    def _danger(self) -> str | None:
        if (free := free_bytes(self._directory)) < self._reserve_bytes:
            return f"{free} bytes are free, less than the reserve of {self._reserve_bytes}"
        if self._qmp.query("query-status", RunState).status == "io-error":
            return "the guest was paused by a write error"
        return None

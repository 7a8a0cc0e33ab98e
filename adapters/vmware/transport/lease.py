"""An NFC lease: the server's promise to keep a snapshot's disks ready for download.

Imports `adapters.errors` and this package only. The lease is kept alive from the moment it is there, and ends by
Complete or Abort whatever happens; the server ends it itself when it hears nothing for about five minutes.
"""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Event, Thread
from typing import Any
from urllib.parse import urlsplit

from pyVmomi import vmodl

from adapters.errors import AdapterError, SourceInvalid, SourceNotFound, SourceUnavailable

ALIVE_SECONDS = 60.0
_READY_SECONDS = 300.0
_FAULTS = (vmodl.MethodFault, OSError, http.client.HTTPException)


@dataclass(frozen=True, slots=True)
class DiskUrl:
    """Where a disk is downloaded: `target` is path and query. `thumbprint` (SHA-1) pins a host that is not ours."""

    host: str
    port: int
    target: str
    thumbprint: str


class Lease:
    """A lease that was asked for. `progress` returns 0 to 100, which the server shows beside its task."""

    def __init__(
        self,
        ask: Callable[[], Any],
        progress: Callable[[], int],
        *,
        alive_seconds: float = ALIVE_SECONDS,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._progress = progress
        self._alive_seconds = alive_seconds
        self._over = Event()
        self.broken: AdapterError | None = None
        self._keeper = Thread(target=self._keep_alive, name="nfc-lease", daemon=True)
        try:
            self._lease = ask()
        except _FAULTS as fault:
            raise _refused("The server does not let us export the snapshot", fault) from None
        self._keeper.start()
        try:
            self._await_ready(sleep)
        except BaseException:
            self.end(complete=False)
            raise

    def disk(self, host: str, key: str | None) -> DiskUrl:
        """Find a disk by the end of its key, or the only one. A server that means itself is `host`."""
        disks = [found for found in self._lease.info.deviceUrl if found.disk]
        if key is not None:
            disks = [found for found in disks if found.key.rpartition("/")[2] == key]
        if not disks:
            raise SourceNotFound("The export has no such disk", code="export-no-disk", why=f"none is {key}")
        if len(disks) > 1:
            raise SourceInvalid(
                "The export has several disks and it is not known which is meant",
                code="export-ambiguous",
                why=f"{len(disks)} disks",
            )
        parts = urlsplit(disks[0].url.replace("*", "self.invalid", 1))
        own = parts.hostname in {"self.invalid", "-", None}
        if parts.scheme != "https":
            raise SourceInvalid("The server would send the disk in clear text", code="export-clear-text")
        return DiskUrl(
            host=host if own or parts.hostname is None else parts.hostname,
            port=parts.port or 443,
            target=parts.path + (f"?{parts.query}" if parts.query else ""),
            thumbprint="" if own else (disks[0].sslThumbprint or ""),
        )

    def end(self, *, complete: bool) -> None:
        """Complete the lease, or abort it; twice is harmless. A server that does not hear it lets it time out."""
        if self._over.is_set():
            return
        self._over.set()
        self._keeper.join()
        try:
            if complete:
                self._lease.HttpNfcLeaseComplete()
            else:
                self._lease.HttpNfcLeaseAbort()
        except _FAULTS as fault:
            self.broken = self.broken or _refused("The server did not hear that the export is over", fault)

    def _await_ready(self, sleep: Callable[[float], None]) -> None:
        deadline = time.monotonic() + _READY_SECONDS
        try:
            while (state := str(self._lease.state)) == "initializing" and time.monotonic() < deadline:
                sleep(0.5)
            why = _words(self._lease.error) if state == "error" else f"it is {state}"
        except _FAULTS as fault:
            raise _refused("The server does not let us export the snapshot", fault) from None
        if state != "ready":
            raise SourceUnavailable("The server does not let us export the snapshot", code="export-refused", why=why)

    def _keep_alive(self) -> None:
        while not self._over.wait(self._alive_seconds):
            try:
                self._lease.HttpNfcLeaseProgress(max(0, min(self._progress(), 99)))
            except _FAULTS as fault:
                self.broken = _refused("The export's lease was lost", fault)
                return


def _refused(what: str, fault: BaseException) -> SourceUnavailable:
    return SourceUnavailable(what, code="export-lease", why=_words(fault))


def _words(fault: Any) -> str:
    return str(getattr(fault, "msg", "") or getattr(fault, "localizedMessage", "") or type(fault).__name__)

"""A simulator of HttpNfcLease as pyvmomi shows it, for faults that no server can be asked to have."""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import Event
from types import SimpleNamespace
from typing import Any

from pyVmomi import vmodl


@dataclass
class NfcLease:
    """Shows `urls` (key to URL) once it was looked at `initializing` times; records what it was told."""

    urls: dict[str, str]
    initializing: int = 0
    state_at_last: str = "ready"
    thumbprint: str = ""
    progress_fails: bool = False
    told: list[str] = field(default_factory=list)
    progressed: Event = field(default_factory=Event)
    error: Any = field(default_factory=lambda: SimpleNamespace(msg="the disks are locked"))

    @property
    def state(self) -> str:
        """What the lease is by now."""
        self.initializing -= 1
        return "initializing" if self.initializing >= 0 else self.state_at_last

    @property
    def info(self) -> Any:
        """The disks, and a file that is none."""
        urls = [
            SimpleNamespace(key=f"/vm-16/{key}", url=url, disk=True, sslThumbprint=self.thumbprint)
            for key, url in self.urls.items()
        ]
        nvram = SimpleNamespace(key="/vm-16/nvram", url="https://*/nfc/x/nvram", disk=False, sslThumbprint="")
        return SimpleNamespace(deviceUrl=[nvram, *urls])

    def HttpNfcLeaseProgress(self, percent: int) -> None:
        """Keep alive."""
        self.told.append(f"progress {percent}")
        self.progressed.set()
        if self.progress_fails:
            raise vmodl.fault.SystemError(msg="the lease has timed out")

    def HttpNfcLeaseComplete(self) -> None:
        """End well."""
        self.told.append("complete")

    def HttpNfcLeaseAbort(self) -> None:
        """End otherwise."""
        self.told.append("abort")

    def ends(self) -> list[str]:
        """How it was ended."""
        return [word for word in self.told if not word.startswith("progress")]

"""HttpNfcLease: frozen disks handed out as stream-optimised VMDK files under addresses of their own.

The files are made by qemu-img when they are asked for, and are gone with the lease.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pyVmomi import vim

from tests.support.vsphere.disks import Frozen
from tests.support.vsphere.engine import convert
from tests.support.vsphere.managed import Call, Managed, World, prop, soap

if TYPE_CHECKING:
    from tests.support.vsphere.machines import Machine

State = vim.HttpNfcLease.State
LEASE_SECONDS = 300


class Lease(Managed):
    """A lease over the disks of one snapshot; its addresses are secret, and need no session."""

    kind = vim.HttpNfcLease

    def __init__(self, world: World, machine: Machine, frozen: Sequence[tuple[int, Frozen]]) -> None:
        super().__init__(world, f"session-lease-{world.number()}")
        self.machine = machine
        self.told: list[int] = []
        """The percentages that HttpNfcLeaseProgress was called with."""
        self.state_now = State.ready
        self._ticket = secrets.token_hex(16)
        self._frozen = dict(frozen)

    @prop
    def state(self) -> str:
        return self.state_now

    @prop
    def initializeProgress(self) -> int:
        return 100

    @prop
    def info(self) -> vim.HttpNfcLease.Info:
        urls = [
            vim.HttpNfcLease.DeviceUrl(
                key=f"/{self.machine.moid}/{key}",
                importKey=f"/{self.machine.set.name}/{key}",
                sslThumbprint=self.world.thumbprint,
                url=f"https://{self.world.address}/nfc/{self._ticket}/disk-{key}.vmdk",
                disk=True,
                targetId=f"disk-{key}.vmdk",
            )
            for key in self._frozen
        ]
        kilobytes = sum(frozen.size_bytes for frozen in self._frozen.values()) >> 10
        return vim.HttpNfcLease.Info(
            lease=self.ref,
            entity=self.machine.ref,
            deviceUrl=urls,
            totalDiskCapacityInKB=kilobytes,
            leaseTimeout=LEASE_SECONDS,
        )

    def image(self, ticket: str, name: str) -> Path | None:
        """Make the file behind an address; the caller deletes it. None when this lease has no such address."""
        key = next((key for key in self._frozen if name == f"disk-{key}.vmdk"), None)
        if self.state_now != State.ready or ticket != self._ticket or key is None:
            return None
        frozen = self._frozen[key]
        target = self.world.engine.scratch(f"{self.moid}-{key}-{self.world.number()}")
        convert(frozen.disk.image(frozen.layer), target, "-O", "vmdk", "-o", "subformat=streamOptimized")
        return target

    @soap("HttpNfcLeaseProgress")
    def progress(self, call: Call) -> None:
        """Keep the lease alive."""
        percent = call["percent"]
        assert isinstance(percent, int)
        self.told.append(percent)

    @soap("HttpNfcLeaseComplete")
    def complete(self, call: Call) -> None:
        """End the lease in order."""
        self._end()

    @soap("HttpNfcLeaseAbort")
    def abort(self, call: Call) -> None:
        """End the lease."""
        self._end()

    def _end(self) -> None:
        self.state_now = State.done
        self.world.remove(self)

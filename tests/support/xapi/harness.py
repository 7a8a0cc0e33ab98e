"""The simulator as the conformance suite wants a source: one machine whose disk it may treat as it likes."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from adapters.errors import AdapterError
from adapters.port import Snapshot
from adapters.xen.marks import DISK_KEY
from adapters.xen.removing import Patience
from adapters.xen.session import Session
from adapters.xen.source import XenSource
from tests.support.xapi.simulator import XapiSimulator

FOREIGN = "holdfast-looking, but somebody else's"
MACHINE = "web"
QUICK = Patience(looks=20, tries=20, pause_seconds=0.05)


class XenHarness:
    """The first disk of the simulator's machine `web`."""

    can_write_during_snapshot = True

    def __init__(self, pool: XapiSimulator, runtime_dir: Path) -> None:
        self.pool = pool
        self.runtime_dir = runtime_dir
        self.machine_key = str(pool.record("VM", pool.vm(MACHINE))["uuid"])
        self.disk_key = "0"
        self.write(1 << 20, b"something to begin with" * 5000)

    def make_source(self) -> XenSource:
        """Build a source on the simulator."""
        return self.source()

    def source(self, **settings: object) -> XenSource:
        """Build a source with settings of its own."""
        return XenSource("pool", self.pool.settings(**settings), self.runtime_dir, patience=QUICK)

    def write(self, offset: int, data: bytes) -> None:
        """Write as the guest would."""
        self.pool.write(MACHINE, 0, offset, data)

    def discard(self, offset: int, length: int) -> None:
        """Discard as the guest would: the block is noted, and its file has a hole."""
        self.pool.write(MACHINE, 0, offset, bytes(length))
        file = self.pool.disks.path(self.pool.vdi(MACHINE))
        subprocess.run(["fallocate", "-p", "-o", str(offset), "-l", str(length), str(file)], check=True)

    def grow(self, size_bytes: int) -> None:
        """Grow the disk."""
        self.pool.grow(MACHINE, 0, size_bytes)

    def replace_disk(self) -> None:
        """Put another disk of the same size into its place."""
        old = self.pool.record("VDI", self.pool.vdi(MACHINE))
        (vbd,) = self.pool.records.find("VBD", VM=self.pool.vm(MACHINE), userdevice="0")
        other = self.pool.disks.make(old["SR"], int(old["virtual_size"]), name_label=old["name_label"])
        self.pool.records.set("VBD", vbd, VDI=other)
        self.write(2 << 20, b"another disk" * 1000)

    def content(self) -> bytes:
        """The disk's present content, read from its file."""
        return self.pool.content(MACHINE)

    def crash(self, source: XenSource, snapshot: Snapshot) -> None:
        """Drop the connection; nothing is released."""
        with suppress(AdapterError):
            source.close()

    def leftovers(self) -> Sequence[str]:
        """The machine's snapshots that are not somebody else's, and disks of ours that hold data."""
        names = [name for name in self.pool.snapshots(MACHINE) if name != FOREIGN]
        disks = [self.pool.record("VDI", ref) for ref in self.pool.records.find("VDI", is_a_snapshot=True, type="user")]
        return [*names, *(disk["uuid"] for disk in disks if DISK_KEY in disk["other_config"])]

    def plant_foreign(self) -> None:
        """Take a snapshot that is not ours, and leave its disk."""
        session = Session(self.pool.settings())
        try:
            session.task("VM.snapshot", self.pool.vm(MACHINE), FOREIGN)
        finally:
            session.close()
        self._foreign = self._foreign_disks()

    def foreign_intact(self) -> bool:
        """Whether that snapshot and its disks are still there."""
        return FOREIGN in self.pool.snapshots(MACHINE) and self._foreign_disks() == self._foreign != []

    def invalid_base(self) -> str:
        """A base of this disk, of a snapshot that never was."""
        disk = self.pool.record("VDI", self.pool.vdi(MACHINE))
        base = {"vdi": disk["uuid"], "snapshot": str(uuid.uuid4()), "size_bytes": int(disk["virtual_size"])}
        return msgspec.json.encode({**base, "version": 1}).decode()

    def _foreign_disks(self) -> list[str]:
        (snapshot,) = self.pool.records.find("VM", name_label=FOREIGN)
        return [self.pool.record("VBD", vbd)["VDI"] for vbd in self.pool.records.find("VBD", VM=snapshot, type="Disk")]

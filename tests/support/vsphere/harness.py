"""The simulator as the conformance suite wants a source: one machine whose disk it may treat as it likes."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from adapters.errors import AdapterError
from adapters.port import Snapshot
from adapters.secret import Secret
from adapters.vmware.settings import VmwareSettings
from adapters.vmware.source import VmwareSource
from tests.support.vsphere.simulator import VsphereSimulator

FOREIGN = "holdfast-looking, but somebody else's"
MACHINE = "web"


class VsphereHarness:
    """The first disk of the simulator's machine `web`.

    With `same_uuid` a disk that replaces it says that it is the old one, as one does that was restored from outside.
    """

    can_write_during_snapshot = True

    def __init__(self, simulator: VsphereSimulator, runtime_dir: Path, *, same_uuid: bool = False) -> None:
        self.simulator = simulator
        self.same_uuid = same_uuid
        self.runtime_dir = runtime_dir
        self.machine_key = simulator.machine(MACHINE).set.instance_uuid
        self.write(1 << 20, b"something to begin with" * 5000)

    @property
    def disk_key(self) -> str:
        """The disk now in the slot, by the key that the adapter gives it."""
        return self.simulator.slot(MACHINE, 0).disk.uuid

    @property
    def settings(self) -> VmwareSettings:
        """Where the simulator is, and whom it lets in."""
        simulator = self.simulator
        password = Secret(lambda: simulator.password)
        return VmwareSettings(simulator.host, simulator.user, password, port=simulator.port, ca_file=simulator.ca_file)

    def make_source(self) -> VmwareSource:
        """Build a source on the simulator."""
        return VmwareSource("vc", self.settings, self.runtime_dir)

    def write(self, offset: int, data: bytes) -> None:
        """Write as the guest would."""
        self.simulator.write(MACHINE, 0, offset, data)

    def discard(self, offset: int, length: int) -> None:
        """Discard as the guest would."""
        self.simulator.discard(MACHINE, 0, offset, length)

    def grow(self, size_bytes: int) -> None:
        """Grow the disk."""
        self.simulator.grow(MACHINE, 0, size_bytes)

    def replace_disk(self) -> None:
        """Put a disk of the same file name and size in the slot."""
        self.simulator.replace_disk(MACHINE, 0, same_uuid=self.same_uuid)
        self.write(2 << 20, b"another disk" * 1000)

    def content(self) -> bytes:
        """The disk's present content, read by qemu-img from its files."""
        return self.simulator.content(MACHINE, 0)

    def crash(self, source: VmwareSource, snapshot: Snapshot) -> None:
        """Drop the connection; nothing is released."""
        with suppress(AdapterError):
            source.close()

    def leftovers(self) -> Sequence[str]:
        """The machine's snapshots that are not somebody else's."""
        return [name for name in self.simulator.snapshots(MACHINE) if name != FOREIGN]

    def plant_foreign(self) -> None:
        """Take a snapshot that is not ours."""
        self.simulator.plant_snapshot(MACHINE, FOREIGN)

    def foreign_intact(self) -> bool:
        """Whether that snapshot is still there."""
        return FOREIGN in self.simulator.snapshots(MACHINE)

    def invalid_base(self) -> str:
        """A base of this disk, of a change tracking that never was."""
        disk = self.simulator.slot(MACHINE, 0).disk
        file = self.simulator.world.datastore.text(disk.layers[0].descriptor)
        change_id = "00 11 22 33 44 55 66 77-88 99 aa bb cc dd ee ff/1"
        base = {"change_id": change_id, "uuid": disk.uuid, "file": file, "size_bytes": disk.size_bytes}
        return msgspec.json.encode(base).decode()

"""The simulated hosts as the conformance suite wants a source: one machine whose disk it may treat as it likes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress

import msgspec

from adapters.errors import AdapterError
from adapters.hyperv.source import HypervSource
from adapters.port import Snapshot
from tests.support.hyperv.world import HypervWorld

MIB = 1 << 20
FOREIGN = "Automatic Checkpoint"
SIZE = 12 * MIB


class HypervHarness:
    """The disk of a machine `web`, of sources that `make` makes."""

    can_write_during_snapshot = True

    def __init__(self, world: HypervWorld, make: Callable[[], HypervSource]) -> None:
        self.world = world
        self._make = make
        self.machine_key = world.add_machine("web", SIZE)
        self._foreign = ""
        self.write(MIB, b"something to begin with" * 5000)

    @property
    def disk_key(self) -> str:
        """The place of the disk."""
        return self._place

    def make_source(self) -> HypervSource:
        """Build a source on the hosts."""
        return self._make()

    def write(self, offset: int, data: bytes) -> None:
        """Write as the guest would."""
        self.world.write(self.machine_key, self._place, offset, data)

    def discard(self, offset: int, length: int) -> None:
        """Discard as the guest would."""
        self.world.discard(self.machine_key, self._place, offset, length)

    def grow(self, size_bytes: int) -> None:
        """Grow the disk."""
        self.world.resize(self.machine_key, self._place, size_bytes)

    def replace_disk(self) -> None:
        """Put another disk of the same size in its place."""
        self.world.replace_disk(self.machine_key, self._place)
        self.write(2 * MIB, b"another disk" * 1000)

    def content(self) -> bytes:
        """What the guest sees."""
        return self.world.content(self.machine_key, self._place)

    def crash(self, source: HypervSource, snapshot: Snapshot) -> None:
        """Drop the connections; nothing is released."""
        with suppress(AdapterError):
            source.close()

    def leftovers(self) -> Sequence[str]:
        """The machine's recovery checkpoints: those of a backup in progress."""
        return [found.name for found in self.world.machines[self.machine_key].checkpoints if found.kind == "recovery"]

    def plant_foreign(self) -> None:
        """Take a checkpoint, and make a reference point, that are not ours."""
        self.world.plant_checkpoint(self.machine_key, name=FOREIGN)
        self._foreign = self.world.plant_reference_point(self.machine_key).id

    def foreign_intact(self) -> bool:
        """Whether they are still there."""
        machine = self.world.machines[self.machine_key]
        checkpoints = [found.name for found in machine.checkpoints]
        return FOREIGN in checkpoints and self._foreign in [point.id for point in machine.reference_points]

    def invalid_base(self) -> str:
        """A base of this disk, of a reference point that never was."""
        disk = self.world.disk(self.machine_key, self._place)
        base = {"version": 1, "machine": self.machine_key, "disk": disk.virtual_disk_id, "size_bytes": disk.size_bytes}
        return msgspec.json.encode(base | {"point": "Microsoft:none", "rct": "rctX:none"}).decode()

    @property
    def _place(self) -> str:
        return self.world.place(self.machine_key)

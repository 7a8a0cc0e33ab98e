"""The VMware adapter keeps the source port, on our vSphere simulator with disks that a real QEMU writes."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import pytest

from adapters.port import Snapshot
from adapters.secret import Secret
from adapters.vmware.changeid import Base
from adapters.vmware.settings import VmwareSettings
from adapters.vmware.source import VmwareSource
from tests.conformance.source_port import OnlineSuite
from tests.support.qemu_vm import MISSING_TOOLS
from tests.support.vsphere import VsphereSimulator
from tests.support.vsphere.building import MachineSpec
from tests.support.vsphere.devices import DiskSpec

MIB = 1 << 20
NAME = "web"
FOREIGN = "holdfast-looking, but somebody else's"


class VsphereHarness:
    """One machine of the simulator, with one disk."""

    can_write_during_snapshot = True

    def __init__(self, vsphere: VsphereSimulator, runtime_dir: Path) -> None:
        self.vsphere = vsphere
        self._runtime_dir = runtime_dir
        self.machine_key = vsphere.machine(NAME).set.instance_uuid
        vsphere.write(NAME, 0, MIB, b"something to begin with" * 5000)

    @property
    def disk_key(self) -> str:
        """The present disk's key: another disk in its slot has another one."""
        source = self.make_source()
        try:
            machine = next(machine for machine in source.inventory() if machine.key == self.machine_key)
        finally:
            source.close()
        return machine.disks[0].key

    def make_source(self) -> VmwareSource:
        settings = VmwareSettings(
            self.vsphere.host,
            self.vsphere.user,
            Secret(lambda: self.vsphere.password),
            port=self.vsphere.port,
            fingerprint=self.vsphere.fingerprint,
        )
        return VmwareSource("vc", settings, self._runtime_dir)

    def write(self, offset: int, data: bytes) -> None:
        self.vsphere.write(NAME, 0, offset, data)

    def discard(self, offset: int, length: int) -> None:
        self.vsphere.discard(NAME, 0, offset, length)

    def grow(self, size_bytes: int) -> None:
        self.vsphere.grow(NAME, 0, size_bytes)

    def replace_disk(self) -> None:
        self.vsphere.replace_disk(NAME, 0)
        self.write(2 * MIB, b"another disk" * 1000)

    def content(self) -> bytes:
        return self.vsphere.content(NAME, 0)

    def crash(self, source: VmwareSource, snapshot: Snapshot) -> None:
        source.close()

    def leftovers(self) -> Sequence[str]:
        return [name for name in self.vsphere.snapshots(NAME) if name.startswith("holdfast-") and name != FOREIGN]

    def plant_foreign(self) -> None:
        self.vsphere.plant_snapshot(NAME, FOREIGN)

    def foreign_intact(self) -> bool:
        return FOREIGN in self.vsphere.snapshots(NAME)

    def invalid_base(self) -> str:
        source = self.make_source()
        try:
            machine = next(machine for machine in source.inventory() if machine.key == self.machine_key)
        finally:
            source.close()
        (fact,) = machine.disks
        base = Base("52 aa bb cc/1", fact.key, "[datastore1] web/web.vmdk", fact.size_bytes)
        return msgspec.json.encode(base).decode()


@pytest.fixture
def harness() -> Iterator[VsphereHarness]:
    """A simulator of its own for each test."""
    if MISSING_TOOLS:
        pytest.skip(f"needs {', '.join(MISSING_TOOLS)}")
    with tempfile.TemporaryDirectory(prefix="hf-") as directory:
        spec = MachineSpec(NAME, disks=(DiskSpec(4 << 20),))
        with VsphereSimulator(Path(directory) / "vsphere", [spec]) as vsphere:
            yield VsphereHarness(vsphere, Path(directory) / "run")


class TestSimulator(OnlineSuite):
    """A machine whose changed areas are those of a dirty bitmap."""

"""The QEMU adapter keeps the source port, on a qcow2 disk and on a raw one."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest

from adapters.port import Snapshot
from adapters.qemu.bases import Base
from adapters.qemu.source import QemuSource
from adapters.qemu.views import Export, Job, Node
from tests.adapters.qemu.conftest import StartVm
from tests.conformance.source_port import OnlineSuite, TrackingSuite
from tests.support.qemu_vm import MIB, QemuVm, VmDisk

MARK = "holdfast-"


class QemuHarness:
    """A machine with one disk."""

    machine_key = "vm"
    can_write_during_snapshot = True

    def __init__(self, vm: QemuVm) -> None:
        self.vm = vm
        (self.disk_key,) = vm.disks
        vm.write(self.disk_key, MIB, b"something to begin with" * 5000)

    def make_source(self) -> QemuSource:
        return QemuSource("vm", self.vm.qmp_path, self.vm.scratch, scratch_reserve_bytes=MIB)

    def write(self, offset: int, data: bytes) -> None:
        self.vm.write(self.disk_key, offset, data)

    def discard(self, offset: int, length: int) -> None:
        self.vm.discard(self.disk_key, offset, length)

    def grow(self, size_bytes: int) -> None:
        self.vm.resize(self.disk_key, size_bytes)

    def replace_disk(self) -> None:
        self.vm.quit()
        self.vm.create_image(self.vm.disks[self.disk_key])
        self.vm.start()
        self.write(2 * MIB, b"another disk" * 1000)

    def content(self) -> bytes:
        return self.vm.content(self.disk_key)

    def crash(self, source: QemuSource, snapshot: Snapshot) -> None:
        source.close()

    def leftovers(self) -> Sequence[str]:
        return self.leftovers_of(self.vm)

    @staticmethod
    def leftovers_of(vm: QemuVm) -> list[str]:
        control = vm.control
        names = [job.id for job in control.query("query-jobs", list[Job])]
        names += [export.id for export in control.query("query-block-exports", list[Export])]
        for node in control.query("query-named-block-nodes", list[Node]):
            names += [node.node_name, *(bitmap.name for bitmap in node.dirty_bitmaps if "since" in bitmap.name)]
        names += [path.name for path in vm.scratch.glob("*")]
        return [name for name in names if name.startswith(MARK)]

    def plant_foreign(self) -> None:
        bitmap = {"node": self.vm.node(self.disk_key), "name": "foreign"}
        self.vm.control.execute("block-dirty-bitmap-add", bitmap)
        self.vm.control.execute("blockdev-add", {"driver": "null-co", "node-name": "foreign", "size": MIB})
        self.vm.scratch.mkdir(exist_ok=True)
        (self.vm.scratch / "foreign.qcow2").write_bytes(b"not ours")

    def foreign_intact(self) -> bool:
        nodes = {node.node_name: node for node in self.vm.control.query("query-named-block-nodes", list[Node])}
        bitmaps = [bitmap.name for bitmap in nodes[self.vm.node(self.disk_key)].dirty_bitmaps]
        return "foreign" in nodes and "foreign" in bitmaps and (self.vm.scratch / "foreign.qcow2").exists()

    def invalid_base(self) -> str:
        source = self.make_source()
        try:
            (machine,) = source.inventory()
        finally:
            source.close()
        (fact,) = machine.disks
        base = Base("holdfast-gone-00", fact.identity, fact.size_bytes, fact.granularity_bytes)
        return msgspec.json.encode(base).decode()


class NodeHarness(QemuHarness):
    """A machine without devices: any other node would be a disk of it, too.

    QEMU itself refuses writes to a bare node that is being backed up; only a device's writes go on.
    """

    can_write_during_snapshot = False

    def plant_foreign(self) -> None:
        bitmap = {"node": self.vm.node(self.disk_key), "name": "foreign"}
        self.vm.control.execute("block-dirty-bitmap-add", bitmap)

    def foreign_intact(self) -> bool:
        (node,) = (n for n in self.vm.control.query("query-named-block-nodes", list[Node]) if n.drv == "qcow2")
        return "foreign" in [bitmap.name for bitmap in node.dirty_bitmaps]


class TestQcow2(OnlineSuite):
    """A qcow2 disk: bitmaps persist."""

    @pytest.fixture
    def harness(self, start_vm: StartVm) -> QemuHarness:
        return QemuHarness(start_vm(VmDisk("vd0")))


class TestRaw(OnlineSuite):
    """A raw disk: bitmaps live as long as QEMU."""

    @pytest.fixture
    def harness(self, start_vm: StartVm) -> QemuHarness:
        return QemuHarness(start_vm(VmDisk("vd0", format="raw")))


class TestNode(TrackingSuite):
    """A named node in a QEMU without devices."""

    @pytest.fixture
    def harness(self, start_vm: StartVm) -> NodeHarness:
        return NodeHarness(start_vm(VmDisk("disk0", style="node")))

"""Snapshots of a simulated machine: what they froze, their place in the tree, and their removal."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pyVmomi import vim

from tests.support.vsphere.devices import AttachedDisk
from tests.support.vsphere.disks import Frozen
from tests.support.vsphere.faults import LeaveDelta
from tests.support.vsphere.lease import Lease
from tests.support.vsphere.managed import Call, Managed, prop, soap
from tests.support.vsphere.tasks import run_task

if TYPE_CHECKING:
    from tests.support.vsphere.machines import Machine


class Snapshot(Managed):
    """A snapshot; each stands on the one taken before it."""

    kind = vim.vm.Snapshot

    def __init__(self, machine: Machine, name: str, description: str, *, quiesced: bool) -> None:
        super().__init__(machine.world, f"snapshot-{machine.world.number()}")
        self.machine = machine
        self.name = name
        self.description = description
        self.quiesced = quiesced
        self.power_state = machine.power_state
        self.created = datetime.now(UTC)
        self.shown = machine.settings()
        self.slots: dict[int, AttachedDisk] = {slot.key: slot for slot in machine.disks}
        self.frozen: dict[int, Frozen] = {}

    def merge(self) -> None:
        """Write what came after the snapshot into the layers that it froze."""
        for key, frozen in self.frozen.items():
            gone = frozen.disk.merge(frozen.layer)
            for other in self.machine.every_snapshot():
                at = other.frozen.get(key)
                if at is not None and at.layer is gone:
                    other.frozen[key] = replace(at, layer=frozen.layer)

    def tree(self, later: list[Snapshot]) -> vim.vm.SnapshotTree:
        """The snapshot with those taken after it below."""
        return vim.vm.SnapshotTree(
            snapshot=self.ref, vm=self.machine.ref, name=self.name, description=self.description,
            id=int(self.moid.split("-")[1]), createTime=self.created, state=self.power_state, quiesced=self.quiesced,
            replaySupported=False, childSnapshotList=[later[0].tree(later[1:])] if later else [],
        )  # fmt: skip

    @prop
    def config(self) -> vim.vm.ConfigInfo:
        disks = []
        for key, slot in self.slots.items():
            frozen = self.frozen.get(key) or Frozen(slot.disk, slot.disk.top, slot.disk.size_bytes, None)
            disks.append(slot.device(self.world.datastore, frozen.layer, frozen.size_bytes, frozen.change))
        return self.shown.config(disks)

    @prop
    def vm(self) -> vim.VirtualMachine:
        return self.machine.ref

    @prop
    def childSnapshot(self) -> list[vim.vm.Snapshot]:
        return [child.ref for child in self.machine.snapshots_after(self)[:1]]

    @soap("RemoveSnapshot_Task")
    def remove(self, call: Call) -> vim.Task:
        """Take the snapshot away, with `removeChildren` those after it, too."""
        return run_task(self.world, self.machine, call, lambda: self.drop(with_later=bool(call["removeChildren"])))

    def drop(self, *, with_later: bool = False) -> None:
        """Take the snapshot away now."""
        if self not in self.machine.snapshots:
            raise vim.fault.NotFound(msg="The snapshot is gone")
        for snapshot in reversed([self, *(self.machine.snapshots_after(self) if with_later else [])]):
            self.machine.snapshots.remove(snapshot)
            self.world.remove(snapshot)
            if self.world.faults.take("RemoveSnapshot_Task", LeaveDelta):
                self.machine.unconsolidated.append(snapshot)
            else:
                snapshot.merge()
        self.machine.write_files()

    @soap("RevertToSnapshot_Task")
    def revert(self, call: Call) -> vim.Task:
        """Go back to this snapshot."""
        return run_task(self.world, self.machine, call, self.go_back)

    def go_back(self) -> None:
        """Give every disk its content of this snapshot, and lose later snapshots, which vSphere would keep aside."""
        for later in reversed(self.machine.snapshots_after(self)):
            later.drop()
        self.machine.merge_layers()
        for frozen in self.frozen.values():
            frozen.disk.revert(frozen)
        self.machine.power_state = vim.VirtualMachine.PowerState.poweredOff
        self.world.touch()

    @soap("ExportSnapshot")
    def export(self, call: Call) -> vim.HttpNfcLease:
        """Open a lease over the frozen disks."""
        lease = Lease(self.world, self.machine, list(self.frozen.items()))
        self.world.add(lease)
        return lease.ref


def snapshot_info(snapshots: list[Snapshot]) -> vim.vm.SnapshotInfo | None:
    """What a machine tells of its snapshots; None without any."""
    if not snapshots:
        return None
    first, *later = snapshots
    return vim.vm.SnapshotInfo(currentSnapshot=snapshots[-1].ref, rootSnapshotList=[first.tree(later)])

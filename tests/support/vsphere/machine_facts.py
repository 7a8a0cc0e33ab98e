"""What is read of a simulated machine: the properties of VirtualMachine.

The machine itself, its state and its methods are in `machines`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pyVmomi import vim
from pyVmomi.VmomiSupport import F_OPTIONAL

from tests.support.vsphere.devices import DATASTORE_MOID, NETWORK_MOID, AttachedDisk, VirtualDisk
from tests.support.vsphere.inventory import POOL_MOID, Entity
from tests.support.vsphere.managed import Managed, prop
from tests.support.vsphere.snapshots import Snapshot, snapshot_info
from tests.support.vsphere.tasks import tasks_of

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.vsphere.settings import MachineSettings

Layout = vim.vm.FileLayoutEx
_FILE_TYPES = {".vmx": "config", ".nvram": "nvram", ".vmsd": "snapshotList", ".log": "log"}
_ALL_ABILITIES = [info.name for info in vim.vm.Capability._GetPropertyList() if not info.flags & F_OPTIONAL]


class MachineFacts(Entity):
    """The readable side of a machine; its state is filled in by `machines.Machine`."""

    kind = vim.VirtualMachine
    set: MachineSettings
    host_entry: Managed
    folder_entry: Managed
    power_state: str
    connection_state: str
    disks: list[AttachedDisk]
    snapshots: list[Snapshot]
    unconsolidated: list[Snapshot]
    vmx: Path

    def shown_disks(self) -> list[VirtualDisk]:
        """The disks as the API tells them now."""
        raise NotImplementedError

    @prop
    def parent(self) -> vim.Folder:
        return self.folder_entry.ref

    @prop
    def config(self) -> vim.vm.ConfigInfo:
        return self.set.config(self.shown_disks())

    @prop
    def capability(self) -> vim.vm.Capability:
        return vim.vm.Capability(**dict.fromkeys(_ALL_ABILITIES, True))

    @prop
    def runtime(self) -> vim.vm.RuntimeInfo:
        return vim.vm.RuntimeInfo(
            host=self.host_entry.ref, connectionState=self.connection_state, powerState=self.power_state,
            faultToleranceState="notConfigured", toolsInstallerMounted=False, numMksConnections=0,
            recordReplayState="inactive", onlineStandby=False,
            consolidationNeeded=bool(self.unconsolidated) or self.world.faults.consolidation_stuck,
        )  # fmt: skip

    @prop
    def summary(self) -> vim.vm.Summary:
        config = vim.vm.Summary.ConfigSummary(
            name=self.set.name, template=self.set.template, vmPathName=self.set.vmx, uuid=self.set.uuid,
            instanceUuid=self.set.instance_uuid, guestId=self.set.guest_id, numCpu=self.set.cpus,
            memorySizeMB=self.set.memory_mb, numVirtualDisks=len(self.disks),
        )  # fmt: skip
        return vim.vm.Summary(
            vm=self.ref, runtime=self.runtime(), config=config, overallStatus="green",
            quickStats=vim.vm.Summary.QuickStats(guestHeartbeatStatus="green"),
        )  # fmt: skip

    @prop
    def snapshot(self) -> vim.vm.SnapshotInfo | None:
        return snapshot_info(self.snapshots)

    @prop
    def rootSnapshot(self) -> list[vim.vm.Snapshot]:
        return [snapshot.ref for snapshot in self.snapshots[:1]]

    @prop
    def recentTask(self) -> list[vim.Task]:
        return tasks_of(self.world, self)

    @prop
    def layoutEx(self) -> Layout:
        paths = [(self.vmx.with_suffix(suffix), kind) for suffix, kind in _FILE_TYPES.items()]
        layers = [layer for slot in self.disks for layer in slot.disk.layers]
        paths += [(layer.descriptor, "diskDescriptor") for layer in layers]
        paths += [(layer.file, "diskExtent") for layer in layers]
        files = [
            Layout.FileInfo(
                key=key,
                name=self.world.datastore.text(path),
                type=kind,
                size=path.stat().st_size,
                uniqueSize=path.stat().st_blocks * 512,
                accessible=True,
            )
            for key, (path, kind) in enumerate(paths)
            if path.exists()
        ]
        return Layout(file=files, timestamp=datetime.now(UTC))

    @prop
    def guest(self) -> vim.vm.GuestInfo:
        running = self.power_state == vim.VirtualMachine.PowerState.poweredOn
        return vim.vm.GuestInfo(
            guestState="running" if running else "notRunning",
            toolsStatus="toolsOk" if running else "toolsNotRunning",
            toolsRunningStatus="guestToolsRunning" if running else "guestToolsNotRunning",
            guestFamily="linuxGuest" if running else None,
        )

    @prop
    def resourcePool(self) -> vim.ResourcePool | None:
        return None if self.set.template else vim.ResourcePool(POOL_MOID)

    @prop
    def datastore(self) -> list[vim.Datastore]:
        return [vim.Datastore(DATASTORE_MOID)]

    @prop
    def network(self) -> list[vim.Network]:
        return [vim.Network(NETWORK_MOID)]

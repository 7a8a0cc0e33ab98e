"""Simulated virtual machines: state, power, files, snapshots, and their disks.

What is read of them is in `machine_facts`, what ReconfigVM_Task does in `reconfigure`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from pyVmomi import vim, vmodl

from tests.support.vsphere.areas import ChangedAreas, changed_areas
from tests.support.vsphere.datastore import write_vmx
from tests.support.vsphere.devices import AttachedDisk, VirtualDisk
from tests.support.vsphere.disks import Disk, Frozen
from tests.support.vsphere.faults import ChangeInfo
from tests.support.vsphere.machine_facts import MachineFacts
from tests.support.vsphere.managed import Call, Managed, World, soap
from tests.support.vsphere.reconfigure import reconfigure
from tests.support.vsphere.settings import MachineSettings
from tests.support.vsphere.snapshots import Snapshot
from tests.support.vsphere.tasks import run_task

Power = vim.VirtualMachine.PowerState


class Machine(MachineFacts):
    """A VirtualMachine; `host` and `folder` are where it stands, `connection_state` what tests make of it."""

    def __init__(self, world: World, settings: MachineSettings, host: Managed, folder: Managed) -> None:
        super().__init__(world, f"vm-{world.number()}")
        self.set = settings
        self.host_entry = host
        self.folder_entry = folder
        self.power_state = Power.poweredOff
        self.connection_state = vim.VirtualMachine.ConnectionState.connected
        self.disks: list[AttachedDisk] = []
        self.snapshots: list[Snapshot] = []
        self.unconsolidated: list[Snapshot] = []
        self._answers: dict[tuple[object, ...], ChangedAreas] = {}

    @property
    def title(self) -> str:
        """The machine's name."""
        return self.set.name

    @property
    def vmx(self) -> Path:
        """The configuration file."""
        return self.world.datastore.file(self.set.vmx)

    def settings(self) -> MachineSettings:
        """The settings as they are now, for a snapshot to keep."""
        return self.set.copy()

    def shown_disks(self) -> list[VirtualDisk]:
        """The disks as the API tells them now."""
        return [
            slot.device(self.world.datastore, slot.disk.top, slot.disk.size_bytes, slot.disk.change)
            for slot in self.disks
        ]

    def slot(self, key: int) -> AttachedDisk:
        """The disk of a key. Raises InvalidArgument."""
        found = next((slot for slot in self.disks if slot.key == key), None)
        if found is None:
            raise _invalid("deviceKey")
        return found

    def every_snapshot(self) -> list[Snapshot]:
        """The snapshots, those included that were taken away without their layers."""
        return [*self.snapshots, *self.unconsolidated]

    def snapshots_after(self, snapshot: Snapshot) -> list[Snapshot]:
        """Those taken after a snapshot, in order."""
        return self.snapshots[self.snapshots.index(snapshot) + 1 :]

    def write_files(self) -> None:
        """Write the .vmx anew, and tell that something changed."""
        write_vmx(self.vmx, self.set.entries(self.shown_disks()))
        self.vmx.with_suffix(".vmsd").write_text(f'snapshot.numSnapshots = "{len(self.snapshots)}"\n')
        self.world.touch()

    # --- power ---

    @soap("PowerOnVM_Task")
    def power_on(self, call: Call) -> vim.Task:
        """Power on."""
        return run_task(self.world, self, call, lambda: self.power(Power.poweredOn))

    @soap("PowerOffVM_Task")
    def power_off(self, call: Call) -> vim.Task:
        """Power off."""
        return run_task(self.world, self, call, lambda: self.power(Power.poweredOff))

    def power(self, state: str) -> None:
        """Change the power state. Raises InvalidPowerState when it is so already."""
        if self.power_state == state:
            raise vim.fault.InvalidPowerState(
                existingState=state,
                requestedState=state,
                msg="The attempted operation cannot be performed in the current state.",
            )
        self.power_state = state
        if state == Power.poweredOn:
            self.vmx.with_suffix(".nvram").write_bytes(b"MRVN" + self.set.uuid.encode())
        self.world.touch()

    # --- snapshots ---

    @soap("CreateSnapshot_Task")
    def create_snapshot(self, call: Call) -> vim.Task:
        """Take a snapshot."""
        return run_task(self.world, self, call, lambda: self._snapshot(call, quiesce=bool(call["quiesce"])))

    @soap("CreateSnapshotEx_Task")
    def create_snapshot_ex(self, call: Call) -> vim.Task:
        """Take a snapshot, quiescing by a specification."""
        return run_task(self.world, self, call, lambda: self._snapshot(call, quiesce=call["quiesceSpec"] is not None))

    def _snapshot(self, call: Call, *, quiesce: bool) -> vim.vm.Snapshot:
        return self.freeze(str(call["name"]), str(call["description"] or ""), quiesce=quiesce).ref

    def freeze(self, name: str, description: str = "", *, quiesce: bool = False) -> Snapshot:
        """Freeze all disks at one moment. A guest that cannot be quiesced is found out before anything is done."""
        quiesce = quiesce and self.power_state == Power.poweredOn
        if quiesce and self.world.faults.quiesce_fault is not None:
            raise self.world.faults.quiesce_fault
        snapshot = Snapshot(self, name, description, quiesced=quiesce)
        steps = [
            (slot.key, *slot.disk.prepare_freeze(track=self.set.change_tracking))
            for slot in self.disks
            if slot.in_snapshots
        ]
        if steps:
            self.world.engine.transact([action for _, actions, _ in steps for action in actions])
        snapshot.frozen = {key: done() for key, _, done in steps}
        self.snapshots.append(snapshot)
        self.world.add(snapshot)
        self.write_files()
        return snapshot

    @soap("ConsolidateVMDisks_Task")
    def consolidate(self, call: Call) -> vim.Task:
        """Write down the layers of snapshots that are gone."""
        return run_task(self.world, self, call, self.merge_layers)

    def merge_layers(self) -> None:
        """Write down the layers of snapshots that are gone, now."""
        while self.unconsolidated:
            self.unconsolidated.pop().merge()
        self.write_files()

    @soap("RemoveAllSnapshots_Task")
    def remove_all(self, call: Call) -> vim.Task:
        """Take every snapshot away."""
        return run_task(self.world, self, call, lambda: self.snapshots and self.snapshots[0].drop(with_later=True))

    # --- changes ---

    @soap("QueryChangedDiskAreas")
    def query_changed(self, call: Call) -> ChangeInfo:
        """Tell a page of what changed on a disk. Raises FileFault where no tracking can tell."""
        key, start, change_id = call["deviceKey"], call["startOffset"], str(call["changeId"])
        assert isinstance(key, int)
        assert isinstance(start, int)
        frozen = self._frozen(call["snapshot"], key)
        if not 0 <= start < frozen.size_bytes:
            raise _invalid("startOffset")
        asked = (getattr(call["snapshot"], "_moId", None), key, change_id)
        answer = self._answers.get(asked)
        if answer is None or start == 0 or not answer.knows(start):
            answer = self._answers[asked] = changed_areas(frozen, change_id, self.world.faults)
        page = answer.page(start, self.world.faults.page_size)
        return self.world.faults.page(page) if self.world.faults.page else page

    def _frozen(self, ref: object, key: int) -> Frozen:
        """The disk in a snapshot, or, of a machine that is off, as it is."""
        if isinstance(ref, vim.vm.Snapshot):
            snapshot = self.world.find(ref)
            assert isinstance(snapshot, Snapshot)
            if snapshot.machine is not self:
                raise _invalid("snapshot")
            if key not in snapshot.frozen:
                raise _invalid("deviceKey")
            return snapshot.frozen[key]
        if self.power_state != Power.poweredOff:
            raise _invalid("snapshot")
        return self.slot(key).disk.as_it_is()

    # --- the rest ---

    @soap("ReconfigVM_Task")
    def reconfig(self, call: Call) -> vim.Task:
        """Change settings and devices."""
        return run_task(self.world, self, call, lambda: reconfigure(self, call["spec"]))

    @soap("Destroy_Task")
    def destroy(self, call: Call) -> vim.Task:
        """Remove the machine and its files."""
        return run_task(self.world, self, call, self._destroy)

    @soap("UnregisterVM")
    def unregister(self, call: Call) -> None:
        """Remove the machine from the inventory; its files stay."""
        self._leave()

    def new_disk_node(self) -> str:
        """A name for a disk that QEMU has not seen yet."""
        return f"disk{self.world.number()}"

    def every_disk(self) -> Iterator[Disk]:
        """The disks, those included that only a snapshot still has."""
        attached = [slot.disk for slot in self.disks]
        kept = [frozen.disk for snapshot in self.every_snapshot() for frozen in snapshot.frozen.values()]
        return iter(dict.fromkeys([*attached, *kept]))

    def _destroy(self) -> None:
        self._leave()
        for path in self._files():
            path.unlink(missing_ok=True)
        if not any(self.vmx.parent.iterdir()):
            self.vmx.parent.rmdir()

    def _files(self) -> Sequence[Path]:
        layers = [layer for slot in self.disks for layer in slot.disk.layers]
        own = [self.vmx.with_suffix(suffix) for suffix in (".vmx", ".nvram", ".vmsd", ".log")]
        return [*own, *(path for layer in layers for path in (layer.file, layer.descriptor))]

    def _leave(self) -> None:
        if self.power_state != Power.poweredOff:
            raise vim.fault.InvalidPowerState(
                existingState=self.power_state, requestedState=Power.poweredOff, msg="The machine is powered on"
            )
        for disk in self.every_disk():
            disk.close()
        for snapshot in self.every_snapshot():
            self.world.remove(snapshot)
        self.world.remove(self)


def _invalid(name: str) -> vmodl.fault.InvalidArgument:
    return vmodl.fault.InvalidArgument(invalidProperty=name, msg=f"A specified parameter was not correct: {name}")

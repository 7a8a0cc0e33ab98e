"""How machines come into the inventory: made for a test, by CreateVM_Task, or by RegisterVM_Task from their files."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from pyVmomi import vim

from tests.support.vsphere.datastore import read_vmx
from tests.support.vsphere.devices import (
    CONTROLLER_KEY,
    DiskSpec,
    VirtualDisk,
    built_in,
    controller,
    disk_key,
    network_card,
)
from tests.support.vsphere.inventory import Folder
from tests.support.vsphere.machines import Machine, Power
from tests.support.vsphere.managed import Call, Managed, soap
from tests.support.vsphere.reconfigure import attach, reconfigure
from tests.support.vsphere.settings import MachineSettings
from tests.support.vsphere.tasks import run_task

_SLOT = re.compile(r"scsi(?P<bus>\d):(?P<unit>\d+)\.fileName")
_Spec = vim.vm.device.VirtualDeviceSpec


@dataclass(frozen=True)
class MachineSpec:
    """A machine to make; `key_id` is what its home is encrypted with."""

    name: str
    disks: tuple[DiskSpec, ...] = (DiskSpec(),)
    powered_on: bool = True
    template: bool = False
    key_id: str | None = None
    extra: dict[str, str] = field(default_factory=dict)


class MachineFolder(Folder):
    """The folder of all machines."""

    hosts: Iterable[Managed] = ()

    @soap("CreateVM_Task")
    def create_vm(self, call: Call) -> vim.Task:
        """Make a machine of a ConfigSpec."""
        return run_task(self.world, self, call, lambda: self._create(call["config"], call["host"]).ref)

    @soap("RegisterVM_Task")
    def register_vm(self, call: Call) -> vim.Task:
        """Take a machine from its .vmx file."""
        return run_task(self.world, self, call, lambda: self._register(call).ref)

    def build(self, spec: MachineSpec) -> Machine:
        """Make a machine for a test."""
        folder = self.world.datastore.free_folder(spec.name)
        machine = self._empty(spec.name, folder / f"{spec.name}.vmx")
        machine.set.key_id = spec.key_id
        machine.set.extra = dict(spec.extra)
        machine.set.devices = [*built_in(), controller([]), network_card(self.world.number())]
        machine.write_files()
        for disk in spec.disks:
            attach(machine, disk)
        machine.set.template = spec.template
        self.world.add(machine)
        if spec.powered_on and not spec.template:
            machine.power(Power.poweredOn)
        return machine

    def _create(self, config: vim.vm.ConfigSpec, host: object) -> Machine:
        store = self.world.datastore
        wanted = store.file(config.files.vmPathName)
        path = wanted if wanted.suffix == ".vmx" else store.free_folder(config.name) / f"{config.name}.vmx"
        if path.exists():
            raise vim.fault.FileAlreadyExists(file=store.text(path), msg="The specified file already exists.")
        path.parent.mkdir(exist_ok=True)
        machine = self._empty(config.name, path, host)
        machine.set.devices = built_in()
        try:
            reconfigure(machine, config)
        except Exception:
            for slot in machine.disks:
                slot.disk.close()
            path.unlink(missing_ok=True)
            raise
        self.world.add(machine)
        return machine

    def _register(self, call: Call) -> Machine:
        path = self.world.datastore.file(str(call["path"]))
        if not path.is_file():
            raise vim.fault.NotFound(msg=f"The file {call['path']} was not found")
        if any(isinstance(entry, Machine) and entry.vmx == path for entry in self.world.every(vim.VirtualMachine)):
            raise vim.fault.AlreadyExists(name=str(call["path"]), msg="The machine is registered already")
        entries = read_vmx(path)
        machine = self._empty(str(call["name"] or entries["displayName"]), path, call["host"])
        machine.set.uuid = entries.get("uuid.bios", machine.set.uuid)
        machine.set.template = bool(call["asTemplate"])
        reconfigure(machine, vim.vm.ConfigSpec(deviceChange=list(self._slots(path, entries))))
        self.world.add(machine)
        return machine

    def _slots(self, vmx: Path, entries: dict[str, str]) -> Iterable[_Spec]:
        """The disks that a .vmx file names."""
        for name, value in entries.items():
            if not (slot := _SLOT.fullmatch(name)):
                continue
            file = self.world.datastore.text(vmx.parent / value)
            backing = VirtualDisk.FlatVer2BackingInfo(fileName=file, diskMode="persistent")
            key, unit = CONTROLLER_KEY + int(slot["bus"]), int(slot["unit"])
            device = VirtualDisk(
                key=disk_key(key, unit), controllerKey=key, unitNumber=unit, backing=backing, capacityInKB=0
            )
            yield _Spec(operation=_Spec.Operation.add, device=device)

    def _empty(self, name: str, vmx: Path, host: object = None) -> Machine:
        hosts = list(self.hosts)
        chosen = self.world.find(host) if isinstance(host, vim.HostSystem) else hosts[self.world.number() % len(hosts)]
        return Machine(self.world, MachineSettings(name, self.world.datastore.text(vmx)), chosen, self)

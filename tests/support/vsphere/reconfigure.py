"""ReconfigVM_Task: settings that change, and devices that come, go or grow.

New devices get their keys and slots here; a new disk gets its file, or takes an existing one.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pyVmomi import vim

from tests.support.vsphere.datastore import flat_of
from tests.support.vsphere.devices import (
    CONTROLLER_KEY,
    FIRST_DISK_KEY,
    AttachedDisk,
    Device,
    DiskSpec,
    VirtualDisk,
    disk_key,
    free_unit,
)
from tests.support.vsphere.disks import Disk

if TYPE_CHECKING:
    from tests.support.vsphere.machines import Machine

Change = vim.vm.device.VirtualDeviceSpec
Controller = vim.vm.device.VirtualController
_BUILT_IN = (
    vim.vm.device.VirtualPCIController,
    vim.vm.device.VirtualPS2Controller,
    vim.vm.device.VirtualSIOController,
    vim.vm.device.VirtualKeyboard,
    vim.vm.device.VirtualPointingDevice,
)
_SETTINGS = {
    "name": "name", "annotation": "annotation", "numCPUs": "cpus", "memoryMB": "memory_mb", "guestId": "guest_id",
    "firmware": "firmware", "version": "version", "uuid": "uuid", "instanceUuid": "instance_uuid",
}  # fmt: skip


def reconfigure(machine: Machine, spec: vim.vm.ConfigSpec) -> None:
    """Do what a ConfigSpec says. Raises InvalidDeviceSpec and the like at the first thing that cannot be done."""
    for theirs, ours in _SETTINGS.items():
        if (value := getattr(spec, theirs)) is not None:
            setattr(machine.set, ours, value)
    if spec.changeTrackingEnabled is not None:
        _switch_tracking(machine, on=spec.changeTrackingEnabled)
    for option in spec.extraConfig:
        machine.set.extra[option.key] = str(option.value)
    keys: dict[int, int] = {}
    for change in spec.deviceChange:
        _change_device(machine, change, keys)
    machine.set.modified = datetime.now(UTC)
    machine.write_files()


def _switch_tracking(machine: Machine, *, on: bool) -> None:
    """Switch tracking; off forgets what was tracked, on begins with the next snapshot (a stun)."""
    machine.set.change_tracking = on
    if not on:
        for disk in machine.every_disk():
            disk.reset_tracking()


def _change_device(machine: Machine, change: Change, keys: dict[int, int]) -> None:
    """Add, edit or remove one device; `keys` has the real keys of devices that were added under temporary ones."""
    device = change.device
    if change.operation == Change.Operation.add:
        if isinstance(device, VirtualDisk):
            _add_disk(machine, device, keys, create=change.fileOperation == Change.FileOperation.create)
        else:
            _add_device(machine, device, keys)
    elif isinstance(device, VirtualDisk):
        slot = machine.slot(device.key)
        if change.operation == Change.Operation.edit:
            grow(machine, slot, device.capacityInBytes or device.capacityInKB << 10)
        else:
            remove_disk(machine, slot, destroy=change.fileOperation == Change.FileOperation.destroy)
    else:
        machine.set.devices = [other for other in machine.set.devices if other.key != device.key]
        if change.operation == Change.Operation.edit:
            machine.set.devices.append(device)


def _add_device(machine: Machine, device: Device, keys: dict[int, int]) -> None:
    """Add a device that is no disk, under a key that is free. What every machine has by itself cannot be added."""
    if isinstance(device, _BUILT_IN):
        raise vim.fault.InvalidDeviceSpec(deviceIndex=0, property="deviceChange", msg="The device cannot be added")
    taken = {other.key for other in machine.set.devices}
    wanted = device.key
    first = CONTROLLER_KEY if isinstance(device, vim.vm.device.VirtualSCSIController) else max(wanted, 4000)
    device.key = next(key for key in range(first, first + 1000) if key not in taken)
    if isinstance(device, Controller) and (wanted in taken or device.busNumber is None):
        device.busNumber = device.key - first
    keys[wanted] = device.key
    machine.set.devices.append(device)


def _add_disk(machine: Machine, device: VirtualDisk, keys: dict[int, int], *, create: bool) -> None:
    controller_key = keys.get(device.controllerKey, device.controllerKey) or CONTROLLER_KEY
    if controller_key not in {other.key for other in machine.set.devices if isinstance(other, Controller)}:
        raise vim.fault.InvalidController(
            controllerKey=controller_key, deviceIndex=0, property="", msg="No such controller"
        )
    taken = {slot.unit for slot in machine.disks if slot.controller_key == controller_key}
    unit = device.unitNumber if device.unitNumber is not None and device.unitNumber >= 0 else free_unit(taken)
    if unit in taken:
        raise vim.fault.InvalidDeviceSpec(deviceIndex=0, property="unitNumber", msg="The slot is taken")
    backing = device.backing
    named = backing.fileName if backing.fileName.endswith(".vmdk") else None
    path = machine.world.datastore.file(named) if named else new_disk_path(machine)
    size_bytes = device.capacityInBytes or device.capacityInKB << 10
    disk = _disk_at(machine, path, size_bytes if create else None)
    spec = DiskSpec(
        disk.size_bytes, getattr(backing, "diskMode", None) or "persistent", backing.sharing or "sharingNone"
    )
    machine.disks.append(AttachedDisk(disk_key(controller_key, unit), controller_key, unit, disk, spec))


def _disk_at(machine: Machine, path: Path, size_bytes: int | None) -> Disk:
    """Create the disk of a new file, or open the one there; `size_bytes` is None for a file that must be there."""
    engine, node = machine.world.engine, machine.new_disk_node()
    if size_bytes is not None:
        return Disk.create(engine, node, path, size_bytes)
    if not flat_of(path).exists():
        raise vim.fault.FileNotFound(file=machine.world.datastore.text(path), msg="The disk's file was not found")
    return Disk.open(engine, node, path)


def new_disk_path(machine: Machine) -> Path:
    """The file of a new disk in the machine's folder."""
    stem = machine.vmx.stem
    names = [stem, *(f"{stem}_{number}" for number in range(1, 100))]
    return next(path for name in names if not (path := machine.vmx.parent / f"{name}.vmdk").exists())


def attach(machine: Machine, spec: DiskSpec) -> AttachedDisk:
    """Give a machine a new, empty disk in its first free slot."""
    unit = free_unit({slot.unit for slot in machine.disks})
    disk = _disk_at(machine, new_disk_path(machine), spec.size_bytes)
    slot = AttachedDisk(FIRST_DISK_KEY + unit, CONTROLLER_KEY, unit, disk, spec)
    machine.disks.append(slot)
    machine.write_files()
    return slot


def grow(machine: Machine, slot: AttachedDisk, size_bytes: int) -> None:
    """Grow a disk. Raises InvalidDeviceOperation while it has snapshots, and for a disk that would shrink."""
    if size_bytes == slot.disk.size_bytes:
        return
    if len(slot.disk.layers) > 1 or size_bytes < slot.disk.size_bytes:
        raise vim.fault.InvalidDeviceOperation(deviceIndex=0, property="capacity", msg="The disk cannot be resized so")
    slot.disk.resize(size_bytes)
    machine.disks[machine.disks.index(slot)] = replace(slot, spec=replace(slot.spec, size_bytes=size_bytes))
    machine.write_files()


def remove_disk(machine: Machine, slot: AttachedDisk, *, destroy: bool) -> None:
    """Take a disk out of its slot; one that a snapshot has stays open and keeps its files."""
    machine.disks.remove(slot)
    if slot.disk not in machine.every_disk():
        slot.disk.close()
        if destroy:
            for layer in slot.disk.layers:
                layer.file.unlink()
                layer.descriptor.unlink()
    machine.write_files()

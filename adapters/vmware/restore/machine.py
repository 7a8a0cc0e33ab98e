"""Making a machine of its stored configuration. Imports `adapters.errors`, `adapters.port` and this package.

The machine comes first, then its disks' files into its folder, then disks and network cards into it. It stays off, and
its cards unconnected: the original may still run. What was made is removed again on failure, or named in the error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pyVmomi import vim

from adapters.errors import AdapterError, SourceConflict, SourceCorrupt, SourceUnavailable, tell_remains
from adapters.port import DiskImage, MachineRestore, RestoredMachine
from adapters.vmware.inventory import look_at
from adapters.vmware.places import Stores, split_file
from adapters.vmware.properties import read_all, read_object
from adapters.vmware.restore.recipe import (
    Card,
    Recipe,
    Slot,
    annotated,
    config_spec,
    mark,
    read_recipe,
    unfinished_mark,
)
from adapters.vmware.restore.target import Target, choose_target
from adapters.vmware.restore.unfinished import GONE, run_task
from adapters.vmware.restore.upload import content_of, descriptor, padded, put_file
from adapters.vmware.session import Session, UnansweredCall
from adapters.vmware.tasks import TaskFailed, TaskWaiter

_SECONDS = 3600.0
_Spec = vim.vm.device.VirtualDeviceSpec
_Ethernet = vim.vm.device.VirtualEthernetCard


class MachineMaker:
    """Makes one machine."""

    def __init__(self, session: Session, waiter: TaskWaiter, stores: Stores, request: MachineRestore) -> None:
        self._session = session
        self._waiter = waiter
        self._stores = stores
        self._request = request
        self._what = f"The machine {request.name} was not made"

    def make(self, written: Callable[[int], None]) -> RestoredMachine:
        """Make it, powered off. Raises SourceConflict when the name is taken."""
        recipe = read_recipe(self._request.configuration)
        self._require_free_name()
        size = sum(padded(image.size_bytes) for image in self._request.disks.values())
        target, notes = choose_target(self._session, self._stores, recipe.datastore, size)
        moref = self._create(recipe, target)
        folder = ""
        try:
            folder = self._folder(moref)
            files = self._upload(folder, target, written)
            if recipe.nvram is not None:
                self._put(target, f"{folder}/{folder.rpartition('/')[2]}.nvram", recipe.nvram)
            notes += self._attach(moref, recipe, files)
            return self._checked(moref, [*recipe.notes, *notes])
        except BaseException as error:
            self._remove(moref, folder, target, error)
            raise

    def _require_free_name(self) -> None:
        for found in read_all(self._session, vim.VirtualMachine, ["name"]):
            if found.values.get("name") == self._request.name:
                raise SourceConflict(
                    f"There is a machine {self._request.name} already",
                    code="name-taken",
                    hint="Restore under another name, or remove that machine.",
                )

    def _create(self, recipe: Recipe, target: Target) -> str:
        spec = config_spec(recipe, self._request.name, self._request.label, target.datastore)
        try:
            task = self._session.effect(self._what, lambda: target.folder.CreateVM_Task(spec, target.pool, target.host))
            return str(self._waiter.wait(task, self._what, seconds=_SECONDS)._moId)
        except TaskFailed as failed:
            raise failed.error from None
        except UnansweredCall as unanswered:
            for found in read_all(self._session, vim.VirtualMachine, ["name", "config.annotation"]):
                if unfinished_mark(self._request.label) in str(found.values.get("config.annotation") or ""):
                    return found.moref
            raise unanswered.error from None

    def _folder(self, moref: str) -> str:
        machine = self._session.bound(vim.VirtualMachine, moref)
        path = read_object(self._session, machine, ["config.files.vmPathName"]).get("config.files.vmPathName")
        return split_file(str(path))[1].rpartition("/")[0]

    def _upload(self, folder: str, target: Target, written: Callable[[int], None]) -> dict[str, str]:
        """Write the disks; return their descriptors' paths by the disks' keys."""
        files = {}
        for number, (key, image) in enumerate(self._request.disks.items()):
            stem = f"{folder}/disk-{number}"
            self._write_disk(target, stem, image, written)
            files[key] = f"[{target.datastore}] {stem}.vmdk"
        return files

    def _write_disk(self, target: Target, stem: str, image: DiskImage, written: Callable[[int], None]) -> None:
        size = padded(image.size_bytes)
        put_file(
            self._session,
            target.host._moId,
            target.datastore,
            f"{stem}-flat.vmdk",
            target.datacenter_path,
            size,
            content_of(image, written),
        )
        self._put(target, f"{stem}.vmdk", descriptor(size, f"{stem.rpartition('/')[2]}-flat.vmdk"))

    def _put(self, target: Target, path: str, content: bytes) -> None:
        pieces = [memoryview(content)]
        host = target.host._moId
        put_file(self._session, host, target.datastore, path, target.datacenter_path, len(content), pieces)

    def _attach(self, moref: str, recipe: Recipe, files: Mapping[str, str]) -> list[str]:
        """Give the machine its disks and cards; return what could not be as it was."""
        machine = self._session.bound(vim.VirtualMachine, moref)
        devices = read_object(self._session, machine, ["config.hardware.device"])["config.hardware.device"]
        slots = {slot.key: slot for slot in recipe.slots}
        plan = _Slots(devices)
        changes = [
            plan.disk(number, slots.get(key), file, padded(self._request.disks[key].size_bytes))
            for number, (key, file) in enumerate(files.items())
        ]
        notes = plan.notes + [f"{slot.label} is not part of it" for slot in recipe.slots if slot.key not in files]
        cards, missing = self._cards(recipe)
        whole = annotated(recipe, mark(self._request.label))
        spec = vim.vm.ConfigSpec(deviceChange=[*changes, *cards], annotation=whole)
        self._run(lambda: machine.ReconfigVM_Task(spec))
        return notes + missing

    def _cards(self, recipe: Recipe) -> tuple[list[_Spec], list[str]]:
        networks = {str(found.values.get("name")) for found in read_all(self._session, vim.Network, ["name"])}
        groups = {
            found.values.get("key") for found in read_all(self._session, vim.dvs.DistributedVirtualPortgroup, ["key"])
        }
        changes, notes = [], []
        for number, card in enumerate(recipe.cards):
            backing = _backing(card, networks, groups)
            if backing is None:
                notes.append(f"{card.label} was left out: its network {card.network or card.portgroup} is not here")
                continue
            device = getattr(vim.vm.device, card.kind)(key=-300 - number, backing=backing, addressType="generated")
            device.connectable = vim.vm.device.VirtualDevice.ConnectInfo(
                startConnected=False, allowGuestControl=True, connected=False
            )
            changes.append(_Spec(operation="add", device=device))
        if changes:
            notes.append("its network cards have new addresses and are not connected when it is powered on")
        return changes, notes

    def _run(self, start: Callable[[], Any]) -> None:
        run_task(self._session, self._waiter, start, self._what)

    def _checked(self, moref: str, notes: list[str]) -> RestoredMachine:
        machine = look_at(self._session, moref)
        wanted = sorted(padded(image.size_bytes) for image in self._request.disks.values())
        if sorted(disk.fact.size_bytes for disk in machine.disks or ()) != wanted:
            raise SourceCorrupt(self._what, code="disk-size", why="its disks are not of the sizes that were written")
        return RestoredMachine(machine.key, machine.name, tuple(notes))

    def _remove(self, moref: str, folder: str, target: Target, error: BaseException) -> None:
        """Remove what was made; what stays is told by the error."""
        machine = self._session.bound(vim.VirtualMachine, moref)
        steps: list[Callable[[], Any]] = [machine.Destroy_Task]
        if folder and (files := self._session.content.fileManager) is not None:
            name = f"[{target.datastore}] {folder}"
            steps.append(lambda: files.DeleteDatastoreFile_Task(name, target.datacenter))
        for step in steps:
            try:
                self._run(step)
            except AdapterError as failed:
                if failed.code not in GONE:
                    place = f"[{target.datastore}] {folder}"
                    tell_remains(error, f"Remove what remains of {self._request.name} in {place} by hand: {failed}.")


class _Slots:
    """The places for disks on a new machine's controllers."""

    def __init__(self, devices: list[Any]) -> None:
        self.notes: list[str] = []
        self._controllers = {
            (type(device).__name__.rpartition(".")[2], device.busNumber): device.key
            for device in devices
            if isinstance(device, vim.vm.device.VirtualController) and _takes_disks(device)
        }
        self._taken: set[tuple[int, int]] = set()

    def disk(self, number: int, slot: Slot | None, file: str, size_bytes: int) -> _Spec:
        controller = self._controllers.get((slot.controller, slot.bus)) if slot is not None else None
        unit = slot.unit if slot is not None else 0
        if controller is None or (controller, unit) in self._taken:
            controller, unit = self._free()
            self.notes.append(f"{slot.label if slot else file} is on another controller than it was")
        self._taken.add((controller, unit))
        backing = vim.vm.device.VirtualDisk.FlatVer2BackingInfo(fileName=file, diskMode="persistent")
        disk = vim.vm.device.VirtualDisk(
            key=-200 - number,
            controllerKey=controller,
            unitNumber=unit,
            backing=backing,
            capacityInKB=size_bytes >> 10,
            capacityInBytes=size_bytes,
        )
        return _Spec(operation="add", device=disk)

    def _free(self) -> tuple[int, int]:
        for (kind, _), key in sorted(self._controllers.items(), key=lambda item: item[1]):
            if "SCSI" in kind or "LsiLogic" in kind or "BusLogic" in kind:
                for unit in (unit for unit in range(16) if unit != 7 and (key, unit) not in self._taken):
                    return key, unit
        raise SourceUnavailable("The new machine has no place for a disk", code="no-slot")


def _takes_disks(device: Any) -> bool:
    kinds = (
        vim.vm.device.VirtualSCSIController,
        vim.vm.device.VirtualSATAController,
        vim.vm.device.VirtualNVMEController,
        vim.vm.device.VirtualIDEController,
    )
    return isinstance(device, kinds)


def _backing(card: Card, networks: set[str], groups: set[Any]) -> Any:
    if card.network is not None and card.network in networks:
        return _Ethernet.NetworkBackingInfo(deviceName=card.network)
    if card.portgroup is not None and card.portgroup in groups and card.switch is not None:
        port = vim.dvs.PortConnection(portgroupKey=card.portgroup, switchUuid=card.switch)
        return _Ethernet.DistributedVirtualPortBackingInfo(port=port)
    return None

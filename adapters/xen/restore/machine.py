"""Making a machine of its stored configuration. Imports `adapters.errors`, `adapters.port` and this package.

The machine comes first, marked with our label and as unfinished, then its disks, filled one after the other, and its
drives and network cards. It stays off, and its cards get new addresses: the original may still run. What was made is
removed again on failure, or named in the error; what a dead process left is for `unfinished`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from adapters.errors import AdapterError, SourceConflict, SourceCorrupt, SourceNotFound, SourceUnavailable, tell_remains
from adapters.port import DiskImage, MachineRestore, RestoredMachine
from adapters.xen.inventory import read_vdi, read_vm
from adapters.xen.marks import MAKING_KEY
from adapters.xen.reaching import access_to
from adapters.xen.records import NULL
from adapters.xen.removing import Remover
from adapters.xen.restore.padded import Padded
from adapters.xen.restore.recipe import LABEL_KEY, Card, Drive, Recipe, Slot, read_recipe
from adapters.xen.restore.target import Target
from adapters.xen.restore.unfinished import finish
from adapters.xen.session import Session
from adapters.xen.transport.upload import upload


class MachineMaker:
    """Makes one machine."""

    def __init__(self, session: Session, remover: Remover, runtime_dir: Path, request: MachineRestore) -> None:
        self._session = session
        self._remover = remover
        self._runtime_dir = runtime_dir
        self._request = request
        self._made: list[tuple[str, str]] = []
        self._notes: list[str] = []

    def make(self, written: Callable[[int], None]) -> RestoredMachine:
        """Make it, halted. Raises SourceConflict when the name is taken."""
        recipe = read_recipe(self._request.configuration)
        if self._session.call("VM.get_by_name_label", self._request.name):
            raise SourceConflict(
                f"There is a machine {self._request.name} already",
                code="name-taken",
                hint="Restore under another name, or remove that machine.",
            )
        target = Target(self._session)
        self._notes += recipe.notes
        try:
            vm = self._create_vm(recipe)
            slots = {slot.key: slot for slot in recipe.slots}
            for key, image in self._request.disks.items():
                self._disk(vm, key, slots.get(key), image, target, written)
            self._notes += [
                f"{slot.name or slot.key} is not part of it"
                for slot in recipe.slots
                if slot.key not in self._request.disks
            ]
            self._fit_out(vm, recipe)
            uuid = str(self._session.call("VM.get_uuid", vm))
            finish(self._session, vm, [ref for kind, ref in self._made if kind == "VDI"])
        except BaseException as error:
            self._remove(error)
            raise
        return RestoredMachine(uuid, self._request.name, tuple(self._notes))

    def _create_vm(self, recipe: Recipe) -> str:
        other = {**recipe.vm["other_config"], **self._marks()}
        record = {**recipe.vm, "name_label": self._request.name, "affinity": NULL, "other_config": other}
        try:
            vm = str(self._session.call("VM.create", record))
        except SourceUnavailable as error:
            vm = self._find("VM", self._request.name, error)
        self._made.append(("VM", vm))
        return vm

    def _marks(self) -> dict[str, str]:
        return {LABEL_KEY: self._request.label, MAKING_KEY: self._request.label}

    def _find(self, kind: str, name: str, error: AdapterError) -> str:
        """What was made by a call whose reply was lost."""
        for ref in self._session.call(f"{kind}.get_by_name_label", name):
            marked = self._session.call(f"{kind}.get_other_config", ref)
            if marked.get(LABEL_KEY) == self._request.label and (kind, ref) not in self._made:
                return str(ref)
        raise error

    def _disk(
        self,
        vm: str,
        key: str,
        slot: Slot | None,
        image: DiskImage,
        target: Target,
        written: Callable[[int], None],
    ) -> None:
        repository, note = target.take(slot.repository if slot is not None else "", image.size_bytes)
        name = slot.name if slot is not None and slot.name else f"{self._request.name} {key}"
        if note is not None:
            self._notes.append(f"{name} is {note}")
        vdi = self._create_vdi(name, slot, repository, image.size_bytes)
        self._attach(vm, key, slot, vdi)
        made = read_vdi(self._session, vdi)
        if made.size_bytes < image.size_bytes:
            raise SourceCorrupt(
                f"{name} was made too small", code="disk-size", why=f"{made.size_bytes} bytes, not {image.size_bytes}"
            )
        if made.size_bytes > image.size_bytes:
            self._notes.append(f"{name} has {made.size_bytes} bytes, it had {image.size_bytes}")
        access = access_to(self._session, made.uuid, name, made.size_bytes, self._runtime_dir)
        upload(access, Padded(image, made.size_bytes), written, empty=target.gives_zeros(repository))

    def _create_vdi(self, name: str, slot: Slot | None, repository: str, size: int) -> str:
        record = {
            "name_label": name,
            "name_description": slot.description if slot is not None else "",
            "SR": repository,
            "virtual_size": size,
            "type": "user",
            "sharable": False,
            "read_only": False,
            "other_config": self._marks(),
            "xenstore_data": {},
            "sm_config": {},
            "tags": [],
        }
        try:
            vdi = str(self._session.call("VDI.create", record))
        except SourceUnavailable as error:
            vdi = self._find("VDI", name, error)
        self._made.append(("VDI", vdi))
        return vdi

    def _attach(self, vm: str, key: str, slot: Slot | None, vdi: str) -> None:
        bootable = slot.bootable if slot is not None else False
        other = dict(slot.other_config) if slot is not None else {}
        self._vbd(vm, vdi, key, kind="Disk", bootable=bootable, other_config=other)

    def _vbd(self, vm: str, vdi: str, place: str, *, kind: str, bootable: bool, other_config: dict[str, str]) -> None:
        record = {
            "VM": vm,
            "VDI": vdi,
            "userdevice": place,
            "bootable": bootable,
            "mode": "RW" if kind == "Disk" else "RO",
            "type": kind,
            "unpluggable": kind == "Disk",
            "empty": vdi == NULL,
            "other_config": other_config,
            "qos_algorithm_type": "",
            "qos_algorithm_params": {},
        }
        self._session.call("VBD.create", record)

    def _fit_out(self, vm: str, recipe: Recipe) -> None:
        """Give the machine its empty drives and its network cards."""
        for drive in recipe.drives:
            self._drive(vm, drive)
        made = [self._card(vm, card) for card in recipe.cards]
        if any(made):
            self._notes.append("its network cards have new addresses, and let nothing through (locking-mode disabled)")

    def _drive(self, vm: str, drive: Drive) -> None:
        if drive.place not in self._request.disks:
            self._vbd(vm, NULL, drive.place, kind="CD", bootable=drive.bootable, other_config={})

    def _card(self, vm: str, card: Card) -> bool:
        network = self._network(card)
        if network is None:
            self._notes.append(f"network card {card.device} was left out: its network {card.network_name} is not here")
            return False
        record: dict[str, Any] = {
            "device": card.device,
            "network": network,
            "VM": vm,
            "MAC": "",
            "MTU": card.mtu,
            "other_config": dict(card.other_config),
            "qos_algorithm_type": "",
            "qos_algorithm_params": {},
            "locking_mode": "disabled",
        }
        self._session.call("VIF.create", record)
        return True

    def _network(self, card: Card) -> str | None:
        """The network by its uuid, or the only one of its name."""
        try:
            return str(self._session.call("network.get_by_uuid", card.network))
        except SourceNotFound:
            named = self._session.call("network.get_by_name_label", card.network_name)
            return str(named[0]) if len(named) == 1 else None

    def _remove(self, error: BaseException) -> None:
        """Remove what was made; what stays is told by the error."""
        remaining = []
        for kind, ref in self._made:
            try:
                if kind == "VM":
                    self._remover.vm(read_vm(self._session, ref))
                else:
                    self._remover.vdi(read_vdi(self._session, ref))
            except SourceNotFound:
                continue
            except AdapterError as failed:
                remaining.append(f"{kind} {ref}: {failed}")
        if remaining:
            what = f"Remove what remains of {self._request.name} by hand, marked {self._request.label}"
            tell_remains(error, f"{what}: {'; '.join(remaining)}")

"""Making a machine of a restore point: its disks first, then its definition around them, switched off.

Imports `adapters.errors`, `adapters.port` and the package around it. The definition is the host's own, imported as a
planned machine, given the new disks, checked and realised; its network cards stay unconnected. Where the host cannot
take the definition, the disks stay and the notes say how to make a machine of them. What fails is taken away again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from adapters.errors import (
    AdapterError,
    SourceConflict,
    SourceCorrupt,
    SourceInvalid,
    SourceNotFound,
    SourceUnavailable,
    tell_remains,
)
from adapters.hyperv.cluster import Hosts
from adapters.hyperv.facts import Machine, Started
from adapters.hyperv.inventory import disk_key
from adapters.hyperv.marks import in_the_making, machine_notes
from adapters.hyperv.restore.calls import MakingCalls
from adapters.hyperv.restore.files import FileWriter, Made, MakingFiles
from adapters.hyperv.restore.marker import marker_bytes, marker_unc
from adapters.hyperv.restore.places import Places, choose_folder
from adapters.hyperv.restore.recipe import read_recipe
from adapters.port import MachineRestore, RestoredMachine

DEFINITIONS = "Virtual Machines"
"""The folder of a machine's definition, in its own."""

_SECONDS = 600.0
_NOT_TAKEN = ("method-parameter", "method-unsupported", "method-failed")


@dataclass(frozen=True, slots=True)
class Tools:
    """What a restore works with; `share` is as in the settings."""

    hosts: Hosts
    making: Callable[[str], MakingCalls]
    files: MakingFiles
    share: str | None


class MachineMaker:
    """Makes one machine."""

    def __init__(self, tools: Tools, request: MachineRestore) -> None:
        self._tools = tools
        self._request = request
        self._recipe = read_recipe(request.configuration)
        self._address = tools.hosts.here()
        self._calls = tools.making(self._address)
        self._made = Made(tools.files)
        self._planned: str | None = None
        self._notes: list[str] = []

    def make(self, written: Callable[[int], None]) -> RestoredMachine:
        """Make it, switched off. Raises SourceConflict when the name is taken.

        Where the definition cannot be used, no machine is made: the key is the folder of the disks, and a note says so.
        """
        machine_notes(self._request.label)
        self._require_free_name()
        folder = choose_folder(self._tools.hosts, self._address, self._request, self._recipe)
        places = Places(self._tools.hosts, self._address, self._tools.share, folder)
        names = self._name_disks(places)
        try:
            self._made.folder(places.unc())
            self._mark(places, names)
            disks = self._write_disks(places, names, written)
            made = self._define(places, disks)
            self._forget(marker_unc(places))
            return made or self._undefined(folder, disks)
        except BaseException as error:
            self._undo(error)
            raise

    def _require_free_name(self) -> None:
        taken = self._tools.hosts.machines().machines
        if any(machine.name.casefold() == self._request.name.casefold() for machine in taken):
            raise SourceConflict(
                f"There is a machine {self._request.name} already",
                code="name-taken",
                hint="Restore under another name, or remove that machine.",
            )

    def _name_disks(self, places: Places) -> dict[str, str]:
        """Choose the names of the disks' files, by their keys."""
        slots = self._recipe.slots
        was = {key: slots[key].path if key in slots else "" for key in self._request.disks}
        return {key: places.disk_name(number, path) for number, (key, path) in enumerate(was.items())}

    def _mark(self, places: Places, names: dict[str, str]) -> None:
        """Say in the folder what will be made, for whoever finds it unfinished."""
        files = [*names.values(), *(f"{DEFINITIONS}\\{name}" for name in self._recipe.files)]
        self._made.file(marker_unc(places), _writing_bytes(marker_bytes(self._request.label, files)))

    def _write_disks(self, places: Places, names: dict[str, str], written: Callable[[int], None]) -> dict[str, str]:
        """Write the disks; return their paths by their keys."""
        for key, image in self._request.disks.items():
            slot = self._recipe.slots.get(key)
            sector = slot.sector_bytes if slot else 512
            self._made.disk(places.unc(names[key]), image, None, sector, written)
        return {key: places.path(name) for key, name in names.items()}

    def _define(self, places: Places, disks: dict[str, str]) -> RestoredMachine | None:
        """Make the machine around its disks; None when the host does not take its definition."""
        if self._recipe.definition is None:
            self._notes.append("its definition (.vmcx) is not in the restore point")
            return None
        self._made.folder(places.unc(DEFINITIONS))
        uploaded = []
        for name, content in self._recipe.files.items():
            uploaded.append(places.unc(DEFINITIONS, name))
            self._made.file(uploaded[-1], _writing_bytes(content))
        planned = self._plan(places.path(DEFINITIONS, self._recipe.definition))
        if planned is None:
            return None
        self._equip(planned, places.folder, disks)
        self._run(self._calls.validate(planned.id), "The machine cannot be at this host")
        self._run(self._calls.realise(planned.id), "The machine was not made")
        made = self._checked(planned.id)
        for unc in uploaded:
            self._forget(unc)
        self._unmark(made)
        return RestoredMachine(made.id, made.name, (*self._notes, *self._kept_back()))

    def _plan(self, path: str) -> Machine | None:
        """Import the definition; None when the host refuses it for what it is."""
        before = {machine.id for machine in self._planned_machines()}
        try:
            made = self._run(self._calls.import_definition(path), "The machine's definition was not imported")
        except SourceUnavailable as lost:
            found = [machine.id for machine in self._planned_machines() if machine.id not in before]
            if lost.code != "reply-lost" or len(found) != 1:
                raise
            made = (found[0],)
        except SourceInvalid as refused:
            if refused.code not in _NOT_TAKEN:
                raise
            self._notes.append(f"the host did not take its definition: {refused.why or refused.what}")
            return None
        if len(made) != 1:
            raise SourceConflict(
                "The imported machine is not known", code="machine-lost", why=f"the host names {len(made)}"
            )
        self._planned = made[0]
        return self._tools.hosts.at(self._address).planned_machine(made[0])

    def _planned_machines(self) -> tuple[Machine, ...]:
        return self._tools.hosts.at(self._address).planned_machines()

    def _equip(self, planned: Machine, folder: str, disks: dict[str, str]) -> None:
        """Mark the machine as ours, take its networks, and give it the restored disks in their places."""
        notes = machine_notes(self._request.label)
        self._run(self._calls.describe(planned.id, self._request.name, notes, folder), "The machine was not named")
        self._run(self._calls.disconnect(planned.id), "The machine's networks were not disconnected")
        here = self._tools.hosts.at(self._address)
        for checkpoint in here.checkpoints(planned.id):  # of those that it had, the backup's own among them
            self._run(here.destroy_checkpoint(checkpoint.id), "A checkpoint was not taken out of the definition")
        attached = set()
        for disk in planned.disks:
            key = disk_key(disk.place)
            if (path := disks.get(key)) is None:
                self._run(self._calls.remove_disk(planned.id, disk.place), "A disk was not taken out")
                self._notes.append(f"the disk {disk.path} is not part of it")
                continue
            self._run(self._calls.set_disk_path(planned.id, disk.place, path), "A disk was not attached")
            attached.add(key)
        for key in disks.keys() - attached:
            self._notes.append(f"{disks[key]} has no place in its definition: attach it by hand")

    def _checked(self, machine_id: str) -> Machine:
        machine = self._tools.hosts.at(self._address).machine(machine_id)
        if machine.state != "off":
            raise SourceCorrupt("The new machine is not off", code="machine-state", why=f"it is {machine.state}")
        return machine

    def _unmark(self, made: Machine) -> None:
        """Give the machine its own notes in our mark's place: from here on it is nobody's to remove."""
        name, notes = self._request.name, self._recipe.notes
        try:
            self._run(self._calls.describe(made.id, name, notes, None), "The machine kept our mark")
        except SourceUnavailable:
            if in_the_making(self._tools.hosts.at(self._address).machine(made.id), self._request.label):
                raise

    def _undefined(self, folder: str, disks: dict[str, str]) -> RestoredMachine:
        listed = ", ".join(disks.values())
        told = f"NO MACHINE was made, only its disks in {folder}: make a machine by hand and attach {listed}"
        return RestoredMachine(folder, self._request.name, (*self._notes, told))

    def _kept_back(self) -> list[str]:
        notes = ["its network cards are not connected to any switch"]
        notes += [f"what was kept of it did not hold {missing}" for missing in self._recipe.missing]
        if self._tools.hosts.is_cluster:
            notes.append("it is no role of the cluster: add it to the cluster to have it fail over")
        return notes

    def _forget(self, unc: str) -> None:
        """The host has a definition of its own by now, in its place; what was uploaded has had its day."""
        try:
            self._made.forget(unc)
        except SourceNotFound:
            return
        except AdapterError as error:
            self._notes.append(f"{unc} is not needed any more and was not deleted: {error}")

    def _run(self, started: Started, what: str) -> tuple[str, ...]:
        return self._tools.hosts.finish(self._address, started, what, seconds=_SECONDS)

    def _undo(self, error: BaseException) -> None:
        """Remove what was made; what stays is told by the error."""
        # Disks of a machine that stays, for whatever reason, stay with it.
        stays = self._destroy() or self._made.remove()
        if stays:
            tell_remains(error, f"Remove what remains of {self._request.name} by hand: {'; '.join(stays)}.")

    def _destroy(self) -> list[str]:
        if self._planned is None:
            return []
        try:
            if not self._is_ours(self._planned):
                return [f"the machine {self._planned}, which has no mark of ours any more, and its disks"]
            self._run(self._calls.destroy(self._planned), "The machine was not removed")
        except SourceNotFound:
            return []
        except AdapterError as error:
            return [f"the machine {self._planned} and its disks ({error})"]
        return []

    def _is_ours(self, machine_id: str) -> bool:
        """A planned machine that we imported has our mark as soon as it has a name; a real one must have it."""
        calls = self._tools.hosts.at(self._address)
        try:
            return in_the_making(calls.machine(machine_id), self._request.label)
        except SourceNotFound:
            calls.planned_machine(machine_id)
            return True


def _writing_bytes(content: bytes) -> Callable[[FileWriter], None]:
    return lambda file: file.write_at(0, content)

"""A stored configuration as a plan for a new machine: what is made again, and what is said about the rest.

Pure; imports `adapters.errors`, `adapters.port` and `adapters.vmware.configuration`. Processors, memory, firmware, disk
controllers and network cards are made again; every other device is named in the notes, none is left out silently.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyVmomi import vim

from adapters.errors import SourceInvalid, SourceNotFound
from adapters.port import ConfigurationFile
from adapters.vmware.configuration import CONFIG_FILE, FORMAT

_DEVICE = "vim.vm.device."
CONTROLLERS = frozenset(
    {
        "ParaVirtualSCSIController",
        "VirtualLsiLogicController",
        "VirtualLsiLogicSASController",
        "VirtualBusLogicController",
        "VirtualAHCIController",
        "VirtualNVMEController",
    }
)
CARDS = frozenset({"VirtualVmxnet3", "VirtualVmxnet2", "VirtualE1000", "VirtualE1000e", "VirtualPCNet32"})
GIVEN = frozenset(
    {
        "VirtualPCIController",
        "VirtualPS2Controller",
        "VirtualSIOController",
        "VirtualIDEController",
        "VirtualKeyboard",
        "VirtualPointingDevice",
        "VirtualVMCIDevice",
        "VirtualVideoCard",
    }
)
"""What every machine gets by itself. Devices go by pyvmomi's names, which are not always those on the wire."""

_SETTINGS = ("guestId", "version", "firmware", "memoryHotAddEnabled", "cpuHotAddEnabled")


@dataclass(frozen=True, slots=True)
class Slot:
    """Where a disk was: its controller's kind and bus, and its unit there."""

    key: str
    label: str
    controller: str
    bus: int
    unit: int


@dataclass(frozen=True, slots=True)
class Card:
    """A network card: its network by name, or by the key of a distributed port group."""

    kind: str
    label: str
    network: str | None
    portgroup: str | None
    switch: str | None


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a new machine is made of."""

    name: str
    settings: Mapping[str, Any]
    annotation: str
    secure_boot: bool
    datastore: str | None
    controllers: tuple[tuple[str, int], ...]
    slots: tuple[Slot, ...]
    cards: tuple[Card, ...]
    nvram: bytes | None
    notes: tuple[str, ...]


def read_recipe(files: Sequence[ConfigurationFile]) -> Recipe:
    """Read the stored configuration. Raises SourceNotFound without one, SourceInvalid for what we cannot read."""
    by_name = {file.name: file.content for file in files}
    if CONFIG_FILE not in by_name:
        raise SourceNotFound(
            "The restore point has no configuration of the machine",
            code="configuration-missing",
            hint="Make a machine by hand and restore its disks.",
        )
    try:
        document = json.loads(by_name[CONFIG_FILE])
        if document["format"] != FORMAT:
            raise SourceInvalid(
                "The machine's configuration is of another version", code="configuration-format", why=CONFIG_FILE
            )
        return _recipe(document, next((file.content for file in files if file.name.endswith(".nvram")), None))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise SourceInvalid(
            "The machine's configuration cannot be read",
            code="configuration-unreadable",
            why=f"{type(error).__name__}: {error}",
        ) from None


def _recipe(document: Mapping[str, Any], nvram: bytes | None) -> Recipe:
    config = document["config"]
    hardware = config["hardware"]
    devices = [(item["_vimtype"].removeprefix(_DEVICE), item) for item in hardware.get("device", [])]
    controllers = {item["key"]: (kind, int(item["busNumber"])) for kind, item in devices if "busNumber" in item}
    used = tuple(sorted({place for place in controllers.values() if place[0] in CONTROLLERS}))
    settings = {name: config[name] for name in _SETTINGS if name in config}
    settings |= {"numCPUs": int(hardware["numCPU"]), "memoryMB": int(hardware["memoryMB"])}
    if hardware.get("numCoresPerSocket"):
        settings["numCoresPerSocket"] = int(hardware["numCoresPerSocket"])
    return Recipe(
        name=document["name"],
        settings=settings,
        annotation=config.get("annotation", ""),
        secure_boot=bool(config.get("bootOptions", {}).get("efiSecureBootEnabled")),
        datastore=_datastore(config.get("files", {}).get("vmPathName", "")),
        controllers=used,
        slots=_slots(devices, controllers),
        cards=tuple(_card(kind, item) for kind, item in devices if kind in CARDS),
        nvram=nvram,
        notes=tuple(_notes(document, devices)),
    )


def _datastore(path: str) -> str | None:
    return path[1:].partition("]")[0] if path.startswith("[") else None


def _slots(devices: Sequence[tuple[str, Any]], controllers: Mapping[int, tuple[str, int]]) -> tuple[Slot, ...]:
    disks = [item for kind, item in devices if kind == "VirtualDisk"]
    uuids = Counter(_uuid(item) for item in disks)
    return tuple(
        Slot(
            key=uuid if (uuid := _uuid(item)) and uuids[uuid] == 1 else f"device-{item['key']}",
            label=item.get("deviceInfo", {}).get("label", f"disk {item['key']}"),
            controller=controllers.get(item.get("controllerKey"), ("", 0))[0],
            bus=controllers.get(item.get("controllerKey"), ("", 0))[1],
            unit=int(item.get("unitNumber", 0)),
        )
        for item in disks
    )


def _uuid(disk: Mapping[str, Any]) -> str:
    return str(disk.get("backing", {}).get("uuid") or "").lower()


def _card(kind: str, item: Mapping[str, Any]) -> Card:
    backing = item.get("backing", {})
    port = backing.get("port", {})
    return Card(
        kind=kind,
        label=item.get("deviceInfo", {}).get("label", kind),
        network=backing.get("deviceName"),
        portgroup=port.get("portgroupKey"),
        switch=port.get("switchUuid"),
    )


def _notes(document: Mapping[str, Any], devices: Sequence[tuple[str, Any]]) -> list[str]:
    known = {*CONTROLLERS, *CARDS, *GIVEN, "VirtualDisk"}
    notes = [
        f"{item.get('deviceInfo', {}).get('label', kind)} ({kind}) was not made again"
        for kind, item in devices
        if kind not in known
    ]
    if document["config"].get("keyId"):
        notes.append("the machine was encrypted, the new one is not")
    if document.get("withheld"):
        notes.append(f"settings with secrets are not kept: {', '.join(document['withheld'])}")
    if document["config"].get("vAppConfig"):
        notes.append("its vApp settings were not made again")
    return notes


def config_spec(recipe: Recipe, name: str, label: str, datastore: str) -> vim.vm.ConfigSpec:
    """The machine without its disks and network cards, which come when there is something to attach."""
    spec = vim.vm.ConfigSpec(
        name=name,
        files=vim.vm.FileInfo(vmPathName=f"[{datastore}]"),
        annotation=annotated(recipe, unfinished_mark(label)),
        **recipe.settings,
    )
    if recipe.secure_boot:
        spec.bootOptions = vim.vm.BootOptions(efiSecureBootEnabled=True)
    changes = []
    for number, (kind, bus) in enumerate(recipe.controllers or (("ParaVirtualSCSIController", 0),)):
        controller = getattr(vim.vm.device, kind)(key=-100 - number, busNumber=bus)
        if isinstance(controller, vim.vm.device.VirtualSCSIController):
            controller.sharedBus = vim.vm.device.VirtualSCSIController.Sharing.noSharing
        changes.append(vim.vm.device.VirtualDeviceSpec(operation="add", device=controller))
    spec.deviceChange = changes
    return spec


def annotated(recipe: Recipe, line: str) -> str:
    """The machine's annotation with a line of ours."""
    return "\n".join(part for part in (recipe.annotation, line) if part)


def mark(label: str) -> str:
    """How a machine that we made is known again."""
    return f"Restored by Holdfast, {label}"


def unfinished_mark(label: str) -> str:
    """How one is known that we did not make to its end."""
    return f"Being restored by Holdfast, not whole yet, {label}"

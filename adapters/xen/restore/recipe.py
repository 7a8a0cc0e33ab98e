"""A stored configuration as a plan for a new machine: what is made again, and what is said about the rest.

Pure; imports `adapters.errors`, `adapters.port` and this package. Settings, disks, drives and network cards are made
again; every other device is named in the notes, none is left out silently.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from adapters.errors import SourceInvalid, SourceNotFound
from adapters.port import ConfigurationFile
from adapters.xen.configuration import CONFIG_FILE, FORMAT

LABEL_KEY = "holdfast-restored"
"""The key in a new machine's `other_config` by which it is known again."""

_NOT_AGAIN = frozenset({"uuid", "affinity", "bios_strings", "blocked_operations", "ha_restart_priority"})
_FIRST = {
    "user_version": 1,
    "is_a_template": False,
    "affinity": "",
    "PV_bootloader": "",
    "PV_kernel": "",
    "PV_ramdisk": "",
    "PV_args": "",
    "PV_bootloader_args": "",
    "PV_legacy_args": "",
    "PCI_bus": "",
    "recommendations": "",
    "ha_always_run": False,
    "ha_restart_priority": "",
}
"""What VM.create wants to be told, where the stored configuration says nothing."""


@dataclass(frozen=True, slots=True)
class Slot:
    """Where a disk was, and what it was called; `repository` is the uuid of its storage."""

    key: str
    name: str
    description: str
    repository: str
    bootable: bool
    other_config: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Drive:
    """A drive for CDs, which is made again empty."""

    place: str
    bootable: bool


@dataclass(frozen=True, slots=True)
class Card:
    """A network card, and its network by uuid and name."""

    device: str
    network: str
    network_name: str
    mtu: int
    other_config: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a new machine is made of; `vm` is the record to create it of, but for its name."""

    vm: Mapping[str, Any]
    slots: tuple[Slot, ...]
    drives: tuple[Drive, ...]
    cards: tuple[Card, ...]
    notes: tuple[str, ...]


def read_recipe(files: Sequence[ConfigurationFile]) -> Recipe:
    """Read the stored configuration. Raises SourceNotFound without one, SourceInvalid for what we cannot read."""
    content = next((file.content for file in files if file.name == CONFIG_FILE), None)
    if content is None:
        raise SourceNotFound(
            "The restore point has no configuration of the machine",
            code="configuration-missing",
            hint="Make a machine by hand and restore its disks.",
        )
    try:
        document = json.loads(content)
        if document["format"] != FORMAT:
            raise SourceInvalid(
                "The machine's configuration is of another version", code="configuration-format", why=CONFIG_FILE
            )
        return _recipe(document)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise SourceInvalid(
            "The machine's configuration cannot be read",
            code="configuration-unreadable",
            why=f"{type(error).__name__}: {error}",
        ) from None


def _recipe(document: Mapping[str, Any]) -> Recipe:
    settings = {name: value for name, value in document["VM"].items() if name not in _NOT_AGAIN}
    settings["other_config"] = {
        name: value for name, value in settings.get("other_config", {}).items() if name != "mac_seed"
    }
    return Recipe(
        vm={**_FIRST, **settings},
        slots=tuple(_slot(vbd) for vbd in document["VBDs"] if vbd["type"] == "Disk" and "VDI" in vbd),
        drives=tuple(
            Drive(vbd["userdevice"], bool(vbd["bootable"])) for vbd in document["VBDs"] if vbd["type"] == "CD"
        ),
        cards=tuple(_card(vif) for vif in document["VIFs"]),
        notes=tuple(_notes(document)),
    )


def _slot(vbd: Mapping[str, Any]) -> Slot:
    vdi = vbd["VDI"]
    return Slot(
        key=str(vbd["userdevice"]),
        name=str(vdi["name_label"]),
        description=str(vdi.get("name_description", "")),
        repository=str(vbd["SR"]["uuid"]),
        bootable=bool(vbd["bootable"]),
        other_config=dict(vbd.get("other_config", {})),
    )


def _card(vif: Mapping[str, Any]) -> Card:
    return Card(
        device=str(vif["device"]),
        network=str(vif["network"]["uuid"]),
        network_name=str(vif["network"]["name_label"]),
        mtu=int(vif.get("MTU", 1500)),
        other_config=dict(vif.get("other_config", {})),
    )


def _notes(document: Mapping[str, Any]) -> list[str]:
    words = {"VGPUs": "virtual GPUs", "VTPMs": "virtual TPMs", "VUSBs": "USB devices", "attached_PCIs": "PCI devices"}
    notes = [f"its {words.get(name, name)} ({count}) were not made again" for name, count in document["others"].items()]
    if document["VM"].get("blocked_operations"):
        notes.append("operations that were blocked on it are not")
    if document["VM"].get("ha_restart_priority"):
        notes.append("it is not protected by high availability")
    if document.get("withheld"):
        notes.append(f"settings with secrets are not kept: {', '.join(document['withheld'])}")
    return notes

"""Removing what a restore made whose process died. Imports `adapters.errors`, `adapters.port`, the package around it.

The machine is known by our mark in its notes, the folder by the label in its name and the marker in it, in which all
files of ours stand: nothing else is deleted. A machine goes before its files, which are found again without it. Every
node must answer: an unfinished machine, or one that somebody gave our disks, may be at any of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from adapters.errors import SourceConflict, SourceNotFound
from adapters.hyperv.cluster import Hosts, is_inside
from adapters.hyperv.facts import Machine
from adapters.hyperv.marks import has_mark, in_the_making, require_label
from adapters.hyperv.restore.machine import DEFINITIONS, Tools
from adapters.hyperv.restore.marker import Marker, marker_unc, read_marker
from adapters.hyperv.restore.places import Places
from adapters.hyperv.smb.files import Entry
from adapters.port import Leftover

_SECONDS = 600.0
_WHOLE = "kept: it is whole"
_USED = "kept: somebody uses it"


@dataclass(frozen=True, slots=True)
class _There:
    """A machine at a host."""

    address: str
    machine: Machine
    planned: bool

    @property
    def what(self) -> str:
        kind = "planned machine" if self.planned else "machine"
        return f"{kind} {self.machine.name} ({self.machine.id})"

    def lies_in(self, folder: str) -> bool:
        paths = (*self.machine.configuration_files, *(disk.path for disk in self.machine.disks))
        return any(is_inside(path, folder) for path in paths)


@dataclass(frozen=True, slots=True)
class _Folder:
    """A folder with the label in its name. Without a marker it is whole, or empty: it was made and no more."""

    places: Places
    marker: Marker | None

    @property
    def path(self) -> str:
        return self.places.folder


def remove_unfinished(tools: Tools, label: str) -> list[Leftover]:
    """Remove what the restore of this label did not end. Raises what keeps it; asked again, it goes on."""
    require_label(label)
    addresses = [node.address for node in tools.hosts.nodes()] if tools.hosts.is_cluster else [tools.hosts.here()]
    there = [found for address in addresses for found in _machines(tools.hosts, address)]
    folders = _folders(tools, addresses, label)
    inside = [one for one in there if any(one.lies_in(folder.path) for folder in folders)]
    ours = [one for one in there if in_the_making(one.machine, label) or _is_planned_in(one, folders)]
    others = [one for one in inside if one not in ours]
    if others and not ours:
        for folder in folders:
            _delete(tools, marker_unc(folder.places))
    if others:
        return [Leftover(one.what, _WHOLE) for one in others] + [Leftover(one.what, _USED) for one in ours]
    if any(_is_used(tools, one, folders) for one in ours):
        return [Leftover(one.what, _USED) for one in ours]
    found = [] if ours else _unknown(tools, there, folders)
    for one in ours:
        _destroy(tools, one)
        found.append(Leftover(one.what, "removed"))
    return found + [_without(tools, folder) for folder in folders]


def _machines(hosts: Hosts, address: str) -> list[_There]:
    calls = hosts.at(address)
    planned = [_There(address, machine, planned=True) for machine in calls.planned_machines()]
    return planned + [_There(address, machine, planned=False) for machine in calls.machines()]


def _folders(tools: Tools, addresses: Sequence[str], label: str) -> list[_Folder]:
    """The folders of this label, wherever a restore may have made one."""
    bases = [(address, tools.hosts.at(address).about().machine_folder) for address in addresses]
    bases += [(addresses[0], volume.path) for volume in tools.hosts.volumes()]
    found: dict[str, _Folder] = {}
    for address, base in bases:
        root = base.rstrip("\\")
        beside = Places(tools.hosts, address, tools.share, root).unc(label)  # the root may be a drive's
        for entry in _listed(tools, beside.rpartition("\\")[0]):
            if entry.is_folder and entry.name.endswith(f"-{label}"):
                places = Places(tools.hosts, address, tools.share, f"{root}\\{entry.name}")
                found[places.unc().casefold()] = _Folder(places, _marker(tools, places, label))
    # One label may end with another.
    return [folder for folder in found.values() if folder.marker is None or folder.marker.label == label]


def _is_planned_in(one: _There, folders: Sequence[_Folder]) -> bool:
    """Whether a planned machine, which may have no mark yet, is in a folder that is not whole."""
    return one.planned and any(folder.marker is not None and one.lies_in(folder.path) for folder in folders)


def _is_used(tools: Tools, one: _There, folders: Sequence[_Folder]) -> bool:
    """Whether somebody started our machine, took a checkpoint of it or gave it a disk. A planned one nobody can use."""
    if one.planned:
        return False
    foreign = any(not any(is_inside(disk.path, folder.path) for folder in folders) for disk in one.machine.disks)
    return one.machine.state != "off" or foreign or bool(tools.hosts.at(one.address).checkpoints(one.machine.id))


def _unknown(tools: Tools, there: Sequence[_There], folders: Sequence[_Folder]) -> list[Leftover]:
    """Tell of what may be ours: an import gives a planned machine no mark before it is named."""
    uploaded = [name for folder in folders for name in _definitions(tools, folder.places)]
    planned = [one for one in there if one.planned and not has_mark(one.machine)] if uploaded else []
    return [Leftover(one.what, "kept: it has no mark, and may be another's") for one in planned]


def _definitions(tools: Tools, places: Places) -> list[str]:
    entries = _listed(tools, places.unc(DEFINITIONS))
    return [entry.name for entry in entries if entry.name.lower().endswith(".vmcx")]


def _listed(tools: Tools, unc: str) -> Sequence[Entry]:
    """What is in a folder; nothing where there is none. Raises SourceNotFound `smb-share-missing`."""
    try:
        return tools.files.list(unc)
    except SourceNotFound as missing:
        if missing.code == "smb-share-missing":
            raise
        return ()


def _destroy(tools: Tools, one: _There) -> None:
    with suppress(SourceNotFound):
        started = tools.making(one.address).destroy(one.machine.id)
        tools.hosts.finish(one.address, started, f"{one.what} was not removed", seconds=_SECONDS)


def _without(tools: Tools, folder: _Folder) -> Leftover:
    """Remove the files that the marker names, and the folder when nothing else is in it."""
    what, places, marker = f"folder {folder.path}", folder.places, folder.marker
    if marker is None and _listed(tools, places.unc()):
        return Leftover(what, _WHOLE)
    for name in reversed(marker.files if marker is not None else ()):
        _delete(tools, places.unc(*name.split("\\")))
    mark = marker_unc(places)
    for entry in _listed(tools, places.unc()):
        if entry.is_folder:  # the host's own are left empty when a machine goes
            _delete_if_empty(tools, places.unc(entry.name))
    if any(places.unc(entry.name) != mark for entry in _listed(tools, places.unc())):
        return Leftover(what, "kept: something of somebody else's is in it")
    _delete(tools, mark)
    _delete(tools, places.unc())
    return Leftover(what, "removed")


def _marker(tools: Tools, places: Places, label: str) -> Marker | None:
    """The folder's marker; None when there is none. One that broke off names no files."""
    try:
        content = tools.files.read_bytes(marker_unc(places))
    except SourceNotFound:
        return None
    return read_marker(content) or Marker(label, ())


def _delete(tools: Tools, unc: str) -> None:
    with suppress(SourceNotFound):
        tools.files.delete(unc)


def _delete_if_empty(tools: Tools, unc: str) -> None:
    try:
        _delete(tools, unc)
    except SourceConflict as refused:
        if refused.code != "smb-folder-not-empty":
            raise

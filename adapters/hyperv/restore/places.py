"""Where the files of a new machine go. Imports `adapters.errors`, `adapters.port` and the package around it."""

from __future__ import annotations

import re

from adapters.hyperv.cluster import Hosts
from adapters.hyperv.restore.recipe import Recipe
from adapters.hyperv.smb.paths import unc_of
from adapters.port import MachineRestore

_UNFIT = re.compile(r'[\x00-\x1f"*/:<>?|\\]+')
_LONGEST = 60


def choose_folder(hosts: Hosts, address: str, request: MachineRestore, recipe: Recipe) -> str:
    """The path of a new folder: on the cluster shared volume that has the first disk, else where the host keeps its."""
    name = f"{fit_name(request.name) or 'machine'}-{request.label}"
    first = next((recipe.slots[key].path for key in request.disks if key in recipe.slots), "")
    volume = hosts.volume_of(first)
    base = volume.path if volume is not None else hosts.at(address).about().machine_folder
    return f"{base.rstrip(chr(92))}\\{name}"


def fit_name(name: str) -> str:
    """A name that Windows takes for a file: without what it forbids, and without dots and spaces at the end."""
    return _UNFIT.sub("-", name)[:_LONGEST].strip(". ")


class Places:
    """The files in a machine's folder, by their paths at the host and by UNC."""

    def __init__(self, hosts: Hosts, address: str, share: str | None, folder: str) -> None:
        self.folder = folder
        self._server = hosts.coordinator(folder) or address
        self._share = share
        self._taken: set[str] = set()

    def path(self, *names: str) -> str:
        """A path at the host."""
        return "\\".join((self.folder, *names))

    def unc(self, *names: str) -> str:
        """The same by SMB."""
        return unc_of(self.path(*names), self._server, self._share)

    def disk_name(self, number: int, was: str) -> str:
        """The name of a disk's new file: what it was called without a checkpoint's addition, once in the folder."""
        stem, _, ending = was.rpartition("\\")[2].rpartition(".")
        if ending.lower() == "avhdx":
            stem = stem.rpartition("_")[0] or stem
        name = fit_name(stem) or f"disk-{number}"
        if name.casefold() in self._taken:
            name = f"{name}-{number}"
        self._taken.add(name.casefold())
        return f"{name}.vhdx"

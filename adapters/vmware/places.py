"""Where a frozen disk lies: its datastore, its files, and what of that bears on the way its bytes can take.

Imports `adapters.errors` and this package. Read once for each datastore and session.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyVmomi import vim

from adapters.errors import SourceInvalid
from adapters.vmware.disks import Disk
from adapters.vmware.properties import read_object
from adapters.vmware.session import Session
from adapters.vmware.transport.facts import Controller, Datastore, DiskFacts

_FILE = re.compile(r"\[(?P<datastore>[^]]+)\] ?(?P<path>.+)", re.DOTALL)
_DATASTORES: Mapping[str, Datastore] = {"VMFS": "vmfs", "NFS": "nfs", "NFS41": "nfs", "VSAN": "vsan", "VVOL": "vvol"}
_CONTROLLERS: Mapping[str, Controller] = {"scsi": "scsi", "nvme": "nvme", "sata": "sata", "ide": "ide"}
_DEEPEST = 64


@dataclass(frozen=True, slots=True)
class Store:
    """A datastore; `datacenter_path` is as `/folder` wants it told."""

    moref: str
    name: str
    kind: Datastore
    datacenter_path: str
    luns: frozenset[str]


class Stores:
    """The datastores of a session, by their references."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._known: dict[str, Store] = {}

    def get(self, moref: str) -> Store:
        """Return a datastore's facts."""
        if moref not in self._known:
            entity = self._session.bound(vim.Datastore, moref)
            values = read_object(self._session, entity, ["name", "summary.type", "info", "parent"])
            self._known[moref] = Store(
                moref,
                str(values.get("name") or moref),
                _DATASTORES.get(str(values.get("summary.type") or "").upper(), "other"),
                self._datacenter(values.get("parent")),
                _luns(values.get("info")),
            )
        return self._known[moref]

    def free_bytes(self, moref: str) -> int | None:
        """How much room a datastore has now; None when it does not tell."""
        entity = self._session.bound(vim.Datastore, moref)
        return read_object(self._session, entity, ["summary.freeSpace"]).get("summary.freeSpace")

    def _datacenter(self, entity: Any) -> str:
        """The inventory path of the datacenter above `entity`, without the root folder; empty if there is none."""
        names: list[str] = []
        root = self._session.content.rootFolder._moId
        for _ in range(_DEEPEST):
            if entity is None or entity._moId == root:
                break
            values = read_object(self._session, entity, ["name", "parent"])
            if names or isinstance(entity, vim.Datacenter):
                names.append(str(values.get("name") or ""))
            entity = values.get("parent")
        return "/".join(reversed(names))


def split_file(name: str) -> tuple[str, str]:
    """A datastore's name and the path in it, of `[datastore] path`. Raises SourceInvalid for anything else."""
    match = _FILE.fullmatch(name)
    if match is None:
        raise SourceInvalid(f"{name!r} is no file on a datastore", code="file-name")
    return match["datastore"], match["path"]


def flat_path(disk: Disk, layout: Any) -> str | None:
    """The flat file below the descriptor, when the frozen content is that file alone; None for a chain of deltas."""
    if disk.backing != "FlatVer2" or len(disk.chain) != 1:
        return None
    for unit in (unit for shown in getattr(layout, "disk", None) or () for unit in shown.chain or ()):
        files = [file for file in layout.file if file.key in unit.fileKey]
        if any(file.name == disk.file for file in files):
            extents = [file.name for file in files if file.type == "diskExtent"]
            return split_file(extents[0])[1] if len(extents) == 1 else None
    _, path = split_file(disk.file)
    return path.removesuffix(".vmdk") + "-flat.vmdk"


def disk_facts(session: Session, store: Store, disk: Disk, *, flat: bool, encrypted: bool) -> DiskFacts:
    """What the choice of a transport is made from."""
    return DiskFacts(
        label=disk.fact.label,
        datastore=store.kind,
        controller=_CONTROLLERS.get(disk.controller, "scsi"),
        server_uuid=session.content.about.instanceUuid or "",
        luns=store.luns,
        flat=flat,
        encrypted=encrypted or disk.key_id is not None,
    )


def _luns(info: Any) -> frozenset[str]:
    extents: Sequence[Any] = getattr(getattr(info, "vmfs", None), "extent", None) or ()
    return frozenset(extent.diskName for extent in extents)

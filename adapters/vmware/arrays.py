"""The storage array of the settings, beside the server: which disks it holds, and which of its snapshots are ours.

Imports `adapters.errors`, `adapters.port` and this package. Names of datastores and LUNs are matched exactly; that the
volume named for a datastore is that datastore is seen in its clone, which must show the machine's snapshot.
"""

from __future__ import annotations

from functools import cached_property

from pyVmomi import vim

from adapters.errors import SourceConflict, SourceInvalid
from adapters.port import Leftover
from adapters.vmware.disks import Disk
from adapters.vmware.inventory import Machine
from adapters.vmware.marks import array_name, is_array_label_of
from adapters.vmware.places import Store, raw_lun, split_file
from adapters.vmware.properties import read_all
from adapters.vmware.session import Session
from adapters.vmware.transport.array.building import build_array
from adapters.vmware.transport.array.flow import ServerFree, clean
from adapters.vmware.transport.array.port import ArrayDriver, Presented


class Arrays:
    """The array of one session's settings, if they name one."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._settings = session.settings.array

    def volume_of(self, store: Store, disk: Disk, *, flat: bool) -> str | None:
        """Where the array keeps a frozen disk; None when it does not, or not as a file or a LUN."""
        if self._settings is None:
            return None
        if flat and store.name in self._settings.datastores:
            self._require_one(store.name)
            return self._settings.datastores[store.name]
        lun = raw_lun(disk)
        return self._settings.luns.get(lun) if lun is not None else None

    def begin(self, machine: Machine, label: str) -> ServerFree:
        """Prepare the array's part of a snapshot. Call it only for a disk that `volume_of` has a place for."""
        return ServerFree(self._driver, array_name(label, self._session.server, machine.key))

    def clean(self, machine: Machine) -> list[Leftover]:
        """Remove what dead runs left at the array for the machine."""
        if self._settings is None:
            return []
        return clean(self._driver, lambda label: is_array_label_of(label, self._session.server, machine.key))

    def check(self) -> tuple[str, ...]:
        """Look for every volume, and say what there is in words; nothing without an array."""
        if self._settings is None:
            return ()
        settings = self._settings
        for volume in (*settings.datastores.values(), *settings.luns.values()):
            self._driver.check(volume)
        for name in settings.datastores:
            self._require_one(name)
        holds = [f"the datastore {name}" for name in settings.datastores] + [f"the LUN {lun}" for lun in settings.luns]
        return (f"snapshots by the array {settings.name} of {', '.join(holds)}",)

    @cached_property
    def _driver(self) -> ArrayDriver:
        if self._settings is None:
            raise SourceInvalid("No storage array is configured", code="array-settings")
        return build_array(self._settings)

    def _require_one(self, name: str) -> None:
        """Datacenters may each have a datastore of one name, of which the settings mean one."""
        found = [store for store in self._datastores if store == name]
        if len(found) != 1:
            raise SourceConflict(
                f"{len(found) or 'No'} datastores are called {name}",
                code="array-datastore",
                why="the settings of the array name it for a volume",
                hint="Name the datastore as vSphere does, or give one of them another name.",
            )

    @cached_property
    def _datastores(self) -> list[str]:
        found = read_all(self._session, vim.Datastore, ["name"])
        return [str(store.values.get("name")) for store in found]


def require_moment(presented: Presented, disk: Disk, written: Disk | None) -> None:
    """See that a datastore was frozen while the machine had our snapshot: what the guest wrote to since is in it.

    `disk` is the frozen one, `written` the same disk as the machine had it then. A raw LUN shows nothing of the kind.
    """
    if raw_lun(disk) is not None:
        presented.lun(None)
        return
    store, _ = split_file(disk.file)
    leaf_store, leaf = split_file(written.file) if written is not None else (store, "")
    if leaf_store == store and leaf and disk.file != f"[{leaf_store}] {leaf}" and presented.holds(leaf):
        return
    raise SourceInvalid(
        f"The array's clone of {store} does not show the snapshot of {disk.fact.label}",
        code="array-other-volume",
        why=f"{leaf or 'the file that is written to'} is not in it",
        hint="Look which volume the settings of the array name for the datastore.",
    )

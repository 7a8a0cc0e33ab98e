"""A vCenter or an ESXi host as a backup source. Imports `adapters.busy`, `adapters.port` and this package.

What a backup does at the server is in `freezing` (the steps of a snapshot), `snapshots` (making and removing one) and
`querying` (what changed); which server it is, and that it is the right one, in `session` and `trust`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path

from adapters.busy import Claim, require_idle
from adapters.held import OpenSnapshots
from adapters.port import (
    Consistency,
    DiskImage,
    Leftover,
    MachineFact,
    MachineRestore,
    RestoredMachine,
    SnapshotRequest,
    SourceFact,
)
from adapters.vmware.arrays import Arrays
from adapters.vmware.freezing import Freezing, OpenReader, Tools
from adapters.vmware.inventory import Machine, find_machine, list_machines
from adapters.vmware.marks import snapshot_name
from adapters.vmware.places import Stores
from adapters.vmware.proxy import proxy_facts
from adapters.vmware.reconcile import clean
from adapters.vmware.restore.disk import DiskWriter
from adapters.vmware.restore.machine import MachineMaker
from adapters.vmware.restore.unfinished import remove_unfinished
from adapters.vmware.session import Session, Timing
from adapters.vmware.settings import VmwareSettings
from adapters.vmware.snapshot import VmwareSnapshot
from adapters.vmware.snapshots import Patience, SnapshotKeeper
from adapters.vmware.tasks import TaskWaiter
from adapters.vmware.transport.facts import ProxyFacts
from adapters.vmware.transport.opening import open_reader as open_by_choice


class VmwareSource:
    """The machines behind `settings`. `runtime_dir` takes the sockets and notes of this process's readers."""

    kind = "vmware"

    def __init__(
        self,
        name: str,
        settings: VmwareSettings,
        runtime_dir: Path,
        *,
        timing: Timing | None = None,
        patience: Patience | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        open_reader: OpenReader = open_by_choice,
    ) -> None:
        self.name = name
        self._settings = settings
        self._session = Session(settings, timing)
        waiter = TaskWaiter(self._session, clock=clock)
        self._tools = Tools(
            session=self._session,
            waiter=waiter,
            keeper=SnapshotKeeper(self._session, waiter, patience=patience, sleep=sleep),
            stores=Stores(self._session),
            arrays=Arrays(self._session),
            proxy=lambda: self._proxy,
            open_reader=open_reader,
            runtime_dir=runtime_dir,
        )
        self._open = OpenSnapshots[VmwareSnapshot]()

    @property
    def consistency(self) -> Consistency:
        """What VMware Tools can reach, unless the settings leave the guest alone."""
        return "crash" if self._settings.quiesce == "never" else "application"

    def check(self) -> SourceFact:
        """Log in and count the machines. Raises the AdapterError that a backup would meet."""
        about = self._session.content.about
        machines = list_machines(self._session)
        unreachable = [machine.name for machine in machines if machine.connection != "connected"]
        abilities = [f"{len(machines)} machines", "incremental by changed block tracking"]
        abilities += self._tools.arrays.check()
        if missing := self._proxy.vddk_missing:
            abilities.append(f"without VDDK ({missing})")
        if unreachable:
            abilities.append(f"{len(unreachable)} machines cannot be reached now: {', '.join(unreachable[:5])}")
        if self._settings.insecure:
            abilities.append("INSECURE: the server's certificate is not checked")
        return SourceFact(about.fullName, about.version, tuple(abilities))

    def inventory(self) -> Sequence[MachineFact]:
        """List all machines that the user may see; disks that no snapshot can hold say why."""
        return [machine.fact for machine in list_machines(self._session)]

    def snapshot(self, machine: MachineFact, request: SnapshotRequest) -> VmwareSnapshot:
        """Freeze the requested disks. Raises SourceConflict while another job of this process has the machine."""
        snapshot_name(request.label)
        found = self._find(machine)
        claim = Claim(self._session.server, found.key, found.name, request.label)
        return self._open.take(claim, lambda hold: Freezing(self._tools, found, request).take(hold))

    def reconcile(self, machine: MachineFact, keep: Mapping[str, str]) -> Sequence[Leftover]:
        """Remove our snapshots of the machine, at the server and at the array.

        Bases are change ids, of which the server keeps all: none is lost.
        """
        found = self._find(machine)
        require_idle(self._session.server, found.key, found.name)
        return clean(self._session, self._tools.keeper, self._tools.arrays, found, self._tools.runtime_dir)

    def restore_machine(self, request: MachineRestore, written: Callable[[int], None]) -> RestoredMachine:
        """Make a new machine of its stored configuration, powered off, its network cards unconnected."""
        return MachineMaker(self._session, self._tools.waiter, self._tools.stores, request).make(written)

    def remove_unfinished(self, label: str, disks: int) -> Sequence[Leftover]:
        """Remove the machine that a dead restore left under `label`; one that is whole or in use is kept, and said."""
        return remove_unfinished(self._session, self._tools.waiter, label, disks)

    def require_overwritable(self, machine: MachineFact, disk_key: str) -> None:
        """Raise SourceConflict while the machine runs, has snapshots or is backed up, SourceInvalid for other disks."""
        found = self._find(machine)
        require_idle(self._session.server, found.key, found.name)
        DiskWriter(self._session, self._tools.waiter, self._tools.stores, found).require_writable(disk_key)

    def restore_disk(
        self, machine: MachineFact, disk_key: str, image: DiskImage, label: str, written: Callable[[int], None]
    ) -> None:
        """Overwrite a flat disk in place. Raises SourceConflict while the machine runs or has snapshots."""
        found = self._find(machine)
        claim = Claim(self._session.server, found.key, found.name, label)
        try:
            DiskWriter(self._session, self._tools.waiter, self._tools.stores, found).write(disk_key, image, written)
        finally:
            claim.give_back()

    def close(self) -> None:
        """Let go of unreleased snapshots, which are left to `reconcile`, and log out."""
        self._open.abandon()
        self._session.close()

    @cached_property
    def _proxy(self) -> ProxyFacts:
        return proxy_facts(self._session)

    def _find(self, machine: MachineFact) -> Machine:
        return find_machine(self._session, machine.key)

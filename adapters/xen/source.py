"""A pool of XenServer or XCP-ng hosts as a backup source. Imports `adapters.errors`, `adapters.port` and this package.

What a backup does in the pool is in `freezing` (the steps of a snapshot), `snapshots` (making and removing one) and
`tracking` (what changed); who answers for the pool, and that it is the right one, in `session` and `trust`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from adapters.busy import Claim, require_idle
from adapters.errors import SourceInvalid
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
from adapters.xen.disks import TRACKING
from adapters.xen.freezing import Freezing, OpenReader, Tools
from adapters.xen.inventory import Inventory, Machine, find_machine, list_machines
from adapters.xen.loose import loose
from adapters.xen.marks import snapshot_name
from adapters.xen.reconcile import clean
from adapters.xen.removing import Patience, Remover
from adapters.xen.restore.disk import DiskWriter
from adapters.xen.restore.machine import MachineMaker
from adapters.xen.restore.unfinished import remove_unfinished
from adapters.xen.session import Session, Timing
from adapters.xen.settings import XenSettings
from adapters.xen.snapshot import XenSnapshot
from adapters.xen.snapshots import SnapshotKeeper
from adapters.xen.transport.facts import KINDS, purposes_of
from adapters.xen.transport.opening import open_reader as open_by_choice

_MOST_NAMED = 5


class XenSource:
    """The machines of the pool behind `settings`. `runtime_dir` takes what this host's jobs share about connections."""

    kind = "xen"

    def __init__(
        self,
        name: str,
        settings: XenSettings,
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
        self._session = Session(settings, timing, clock=clock, sleep=sleep)
        self._remover = Remover(self._session, patience or Patience(), sleep)
        keeper = SnapshotKeeper(self._session, self._remover, patience=patience, sleep=sleep)
        self._tools = Tools(self._session, keeper, open_reader, runtime_dir, sleep)
        self._open = OpenSnapshots[XenSnapshot]()

    @property
    def consistency(self) -> Consistency:
        """XenAPI asks no guest to come to rest."""
        return "crash"

    def check(self) -> SourceFact:
        """Log in and count the machines. Raises the AdapterError that a backup would meet."""
        version = self._version()
        found = list_machines(self._session)
        abilities = [f"{len(found.machines)} machines", *_tracking(found), *self._ways()]
        if found.others:
            counted = ", ".join(f"{count} of kind {kind}" for kind, count in sorted(found.others.items()))
            abilities.append(f"not machines, and left out: {counted}")
        if singles := loose(found.vdis):
            some = ", ".join(vdi.uuid for vdi in singles[:_MOST_NAMED]) + (", …" if len(singles) > _MOST_NAMED else "")
            abilities.append(
                f"snapshots of single disks, made by hand or left by a pool that died over one: {len(singles)} ({some})"
            )
        abilities.append("crash consistent: XenAPI asks no guest to come to rest")
        if self._settings.insecure:
            abilities.append("INSECURE: the hosts' certificates are not checked")
        if "insecure_nbd" in self._settings.transports:
            abilities.append("INSECURE: disks may travel in clear text (insecure_nbd)")
        return SourceFact(*version, tuple(abilities))

    def inventory(self) -> Sequence[MachineFact]:
        """List all machines that the user may see; disks that no snapshot can hold say why."""
        return [machine.fact for machine in list_machines(self._session).machines]

    def snapshot(self, machine: MachineFact, request: SnapshotRequest) -> XenSnapshot:
        """Freeze the requested disks. Raises SourceConflict while another job of this process has the machine."""
        snapshot_name(request.label, machine.key)
        found = self._find(machine)
        claim = Claim(self._pool(), found.key, found.name, request.label)
        return self._open.take(claim, lambda hold: Freezing(self._tools, found, request).take(hold))

    def reconcile(self, machine: MachineFact, keep: Mapping[str, str]) -> Sequence[Leftover]:
        """Remove our snapshots of the machine, and our change tracking that no token of `keep` names."""
        found = self._find(machine)
        require_idle(self._pool(), found.key, found.name)
        return clean(self._session, self._tools.keeper, found, keep, self._tools.runtime_dir)

    def restore_machine(self, request: MachineRestore, written: Callable[[int], None]) -> RestoredMachine:
        """Make a new machine of its stored configuration, powered off, its network cards shut and newly addressed."""
        return MachineMaker(self._session, self._remover, self._tools.runtime_dir, request).make(written)

    def remove_unfinished(self, label: str, disks: int) -> Sequence[Leftover]:
        """Remove what `restore_machine` made for a process that died; what is whole or in use stays, and is named."""
        return remove_unfinished(self._session, self._remover, label)

    def require_overwritable(self, machine: MachineFact, disk_key: str) -> None:
        """Raise SourceConflict while the machine is not halted or is backed up, SourceInvalid for other disks."""
        found = self._find(machine)
        require_idle(self._pool(), found.key, found.name)
        DiskWriter(self._session, self._tools.runtime_dir, found).require_writable(disk_key)

    def restore_disk(
        self, machine: MachineFact, disk_key: str, image: DiskImage, label: str, written: Callable[[int], None]
    ) -> None:
        """Overwrite a disk in place. Raises SourceConflict while the machine is not halted."""
        found = self._find(machine)
        claim = Claim(self._pool(), found.key, found.name, label)
        try:
            DiskWriter(self._session, self._tools.runtime_dir, found).write(disk_key, image, written)
        finally:
            claim.give_back()

    def close(self) -> None:
        """Let go of unreleased snapshots, which are left to `reconcile`, and log out."""
        self._open.abandon()
        self._session.close()

    def _find(self, machine: MachineFact) -> Machine:
        return find_machine(self._session, machine.key)

    def _ways(self) -> list[str]:
        """How disks would travel, as the networks are now; the choice is made for each disk."""
        purposes = purposes_of(self._session.call("network.get_all_records").values())
        kinds = [kind for kind in KINDS if kind in self._settings.transports]
        way = next((kind for kind in kinds if kind == "export" or purposes & set(KINDS) == {kind}), None)
        if way is None:
            return ["no way to the disks: no network has the purpose nbd, and export is not allowed"]
        if way == "export":
            return ["disks travel whole each time (export): no network has the purpose nbd, or nbd is not allowed"]
        return [f"disks travel over {way}"]

    def _pool(self) -> str:
        """The pool's uuid, which its hosts come and go under."""
        (record,) = self._session.call("pool.get_all_records").values()
        return str(record["uuid"])

    def _version(self) -> tuple[str, str]:
        """Product and version of the master's software."""
        (pool,) = self._session.call("pool.get_all_records").values()
        software = self._session.call("host.get_record", pool["master"])["software_version"]
        product, version = software.get("product_brand"), software.get("product_version")
        if not product or not version:
            raise SourceInvalid(
                "The pool's master does not say what it is", code="answer-unreadable", why="no product or version"
            )
        return str(product), str(version)


def _tracking(found: Inventory) -> list[str]:
    """What of the pool's storage can tell what changed."""
    repositories = {
        disk.repository.name: disk.can_track
        for machine in found.machines
        for disk in machine.disks
        if disk.repository is not None
    }
    able = sorted(name for name, can in repositories.items() if can)
    unable = sorted(name for name, can in repositories.items() if not can)
    said = [f"incremental by changed block tracking on {', '.join(able)}"] if able else []
    return said + ([f"only full backups on {', '.join(unable)} (no {TRACKING})"] if unable else [])

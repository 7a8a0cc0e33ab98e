"""A Hyper-V host or failover cluster as a backup source. Imports the shared modules of `adapters` and this package.

What a backup does at the host is in `freezing` (the steps of a checkpoint), `checkpoints` (making, converting and
removing one) and `snapshot` (what is given back when); which host is asked, in `cluster`; where bytes are read, in
`places`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Protocol

from adapters.busy import Claim, require_idle
from adapters.errors import SourceInvalid
from adapters.held import Hold, OpenSnapshots
from adapters.hyperv import legacy
from adapters.hyperv.checkpoints import Patience
from adapters.hyperv.cluster import Hosts
from adapters.hyperv.control.runner import Runners
from adapters.hyperv.control.winrm import WinrmRunner
from adapters.hyperv.facts import Host
from adapters.hyperv.freezing import Freezing, Tools
from adapters.hyperv.intents import Intents
from adapters.hyperv.inventory import Found, Listing, find_machine, list_machines
from adapters.hyperv.jobs import JobWaiter
from adapters.hyperv.places import Files
from adapters.hyperv.reconcile import clean
from adapters.hyperv.restore.calls import MakingCalls
from adapters.hyperv.restore.disk import DiskWriter
from adapters.hyperv.restore.files import MakingFiles
from adapters.hyperv.restore.machine import MachineMaker
from adapters.hyperv.restore.machine import Tools as MakingTools
from adapters.hyperv.restore.unfinished import remove_unfinished
from adapters.hyperv.settings import HypervSettings
from adapters.hyperv.smb.files import SmbFiles
from adapters.hyperv.snapshot import HypervSnapshot
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


class HostFiles(Files, MakingFiles, Protocol):
    """Files of hosts by their UNC paths: to read for backups, to make for restores."""


Taken = HypervSnapshot | legacy.LegacySnapshot


class HypervSource:
    """The machines behind `settings`. `runtime_dir` takes the notes of this worker's runs."""

    kind = "hyperv"

    def __init__(
        self,
        name: str,
        settings: HypervSettings,
        runtime_dir: Path,
        *,
        runners: Runners | None = None,
        files: HostFiles | None = None,
        patience: Patience | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.name = name
        self._settings = settings
        self._runners = runners or Runners(lambda host: WinrmRunner(settings, host))
        self._files: HostFiles = files or SmbFiles(settings)
        hosts = Hosts(self._runners.of, settings.host, JobWaiter(clock=clock, sleep=sleep), cluster=settings.cluster)
        self._tools = Tools(
            settings=settings,
            hosts=hosts,
            intents=Intents(runtime_dir, settings.host),
            files=self._files,
            patience=patience or Patience(),
            tracking=lambda: self._about.change_tracking and not settings.legacy,
        )
        self._making = MakingTools(
            hosts=hosts,
            making=lambda address: MakingCalls(self._runners.of(address)),
            files=self._files,
            share=settings.smb_share,
        )
        self._open = OpenSnapshots[Taken]()

    @property
    def consistency(self) -> Consistency:
        """What the guests' integration services can reach, unless the settings leave the guests alone."""
        at_rest = self._settings.consistency != "never" and not self._settings.legacy
        return "application" if at_rest else "crash"

    def check(self) -> SourceFact:
        """Ask the hosts what they are and have. Raises the AdapterError that a backup would meet."""
        about = self._about
        self._require_its_way()
        listing = list_machines(self._tools.hosts, tracking=self._tools.tracking())
        self._require_readable(listing)
        tracked = "incremental by resilient change tracking" if self._tools.tracking() else "changes by comparison"
        abilities = [f"{len(listing.machines)} machines", tracked]
        if listing.silent:
            abilities.append(f"{len(listing.silent)} nodes do not answer: {', '.join(listing.silent[:5])}")
        if self._settings.plain_http:
            abilities.append("over HTTP, every message encrypted")
        if self._settings.insecure:
            abilities.append("INSECURE: the host's certificate is not checked")
        return SourceFact(about.product, about.version, tuple(abilities))

    def inventory(self) -> Sequence[MachineFact]:
        """List all machines; disks that no checkpoint can hold say why."""
        return [found.fact for found in list_machines(self._tools.hosts, tracking=self._tools.tracking()).machines]

    def snapshot(self, machine: MachineFact, request: SnapshotRequest) -> Taken:
        """Freeze the requested disks. Raises SourceConflict while another job of this process has the machine."""
        self._require_its_way()
        found = self._find(machine)
        claim = Claim(self._settings.host, machine.key, machine.name, request.label)
        return self._open.take(claim, lambda hold: self._take(found, request, hold))

    def reconcile(self, machine: MachineFact, keep: Mapping[str, str]) -> Sequence[Leftover]:
        """Remove our checkpoints of the machine, and reference points of ours that no base in force needs."""
        found = self._find(machine)
        require_idle(self._settings.host, machine.key, machine.name)
        if self._settings.legacy:
            return legacy.clean(self._shadows(found))
        return clean(self._tools.keeper(found), self._tools.intents, found.machine.id, keep)

    def restore_machine(self, request: MachineRestore, written: Callable[[int], None]) -> RestoredMachine:
        """Make a new machine of its stored definition, switched off, its network cards unconnected."""
        return MachineMaker(self._making, request).make(written)

    def remove_unfinished(self, label: str, disks: int) -> Sequence[Leftover]:
        """Remove what the restore of this label, whose process is dead, did not end. Raises what keeps it."""
        return remove_unfinished(self._making, label)

    def require_overwritable(self, machine: MachineFact, disk_key: str) -> None:
        """Raise SourceConflict while the machine is not off, has checkpoints or is backed up."""
        found = self._find(machine)
        require_idle(self._settings.host, machine.key, machine.name)
        DiskWriter(self._making, found).require_writable(disk_key)

    def restore_disk(
        self, machine: MachineFact, disk_key: str, image: DiskImage, label: str, written: Callable[[int], None]
    ) -> None:
        """Replace a disk's content. Raises SourceConflict while the machine is not off or has checkpoints."""
        found = self._find(machine)
        claim = Claim(self._settings.host, machine.key, machine.name, label)
        try:
            DiskWriter(self._making, found).write(disk_key, image, label, written)
        finally:
            claim.give_back()

    def close(self) -> None:
        """Let go of unreleased snapshots, which are left to `reconcile`, and close all connections."""
        self._open.abandon()
        self._files.close()
        self._runners.close()

    @cached_property
    def _about(self) -> Host:
        return self._tools.hosts.entry.about()

    def _take(self, found: Found, request: SnapshotRequest, hold: Hold) -> Taken:
        if not self._settings.legacy:
            return Freezing(self._tools, found, request).take(hold)
        places = self._tools.places(found.machine.id)
        return legacy.take(self._shadows(found), places, found, request, hold)

    def _shadows(self, found: Found) -> legacy.Shadows:
        machine_id = found.machine.id
        return legacy.Shadows(self._runners.of(self._tools.hosts.owner(machine_id)), machine_id)

    def _require_readable(self, listing: Listing) -> None:
        """Ask for a disk's file where a backup would read it. Raises what keeps it from being read."""
        disks = ((found.machine.id, disk) for found in listing.machines for disk in found.disks)
        for machine_id, disk in disks:
            if disk.header is not None and disk.fact.exclusion is None:
                self._tools.places(machine_id).require(disk.header.path)
                return

    def _require_its_way(self) -> None:
        """Raise SourceInvalid for a host that has no recovery checkpoints, unless the settings say so."""
        if not self._about.change_tracking and not self._settings.legacy:
            raise SourceInvalid(
                f"{self._about.name} has no recovery checkpoints",
                code="host-legacy",
                why=f"{self._about.product} is older than Windows Server 2016",
                hint="Add the source with --legacy: its machines are read from shadow copies then.",
            )

    def _find(self, machine: MachineFact) -> Found:
        return find_machine(self._tools.hosts, machine.key, tracking=self._tools.tracking())

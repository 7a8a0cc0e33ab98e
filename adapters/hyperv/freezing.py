"""Taking a checkpoint of a machine: the steps between finding it and having its frozen disks.

Imports the shared modules of `adapters` and this package. The note of the run is written before the host is asked for
anything. When a step after the checkpoint fails, it is removed again; should that fail, too, the error is the first one
and `reconcile` finds the checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TypeVar

from adapters.areas import AreaList
from adapters.errors import AdapterError, SourceConflict, SourceDenied, SourceUnavailable
from adapters.held import Hold
from adapters.hyperv import bases, consistency
from adapters.hyperv.calls import Calls
from adapters.hyperv.changes import changed_areas
from adapters.hyperv.checkpoints import CheckpointKeeper, Patience
from adapters.hyperv.cluster import Hosts
from adapters.hyperv.configuration import configuration_files
from adapters.hyperv.facts import ChangePage, ReferencePoint
from adapters.hyperv.intents import Intent, Intents, left_of
from adapters.hyperv.inventory import Found, disks_of
from adapters.hyperv.jobs import JobFailed
from adapters.hyperv.marks import require_label
from adapters.hyperv.places import Files, MachinePlaces
from adapters.hyperv.reading import SharedDisk
from adapters.hyperv.settings import HypervSettings
from adapters.hyperv.snapshot import Frozen, HypervDisk, HypervSnapshot, Taken
from adapters.port import Consistency, SnapshotRequest, Tracked, Untracked
from adapters.requests import require_disks

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Tools:
    """What freezing works with, for as long as the source lives."""

    settings: HypervSettings
    hosts: Hosts
    intents: Intents
    files: Files
    patience: Patience
    tracking: Callable[[], bool]

    def keeper(self, found: Found) -> CheckpointKeeper:
        """The checkpoints of a machine."""
        return CheckpointKeeper(self.hosts, found.machine, self.patience)

    def places(self, machine_id: str) -> MachinePlaces:
        """The files of a machine."""
        return MachinePlaces(self.hosts, self.files, self.settings.smb_share, machine_id)


class Freezing:
    """One checkpoint in the making."""

    def __init__(self, tools: Tools, found: Found, request: SnapshotRequest) -> None:
        self._tools = tools
        self._found = found
        self._machine = found.machine
        self._request = request
        self._keeper = tools.keeper(found)
        self._places = tools.places(found.machine.id)

    def take(self, hold: Hold) -> HypervSnapshot:
        """Take the checkpoint; `hold` is what it holds of this process."""
        require_label(self._request.label)
        require_disks(self._machine.name, (disk.fact for disk in self._found.disks), self._request)
        points = self._keeper.points()
        intent = self._note(points)
        try:
            checkpoint, reached, cause = self._create(intent)
            intent = self._tools.intents.made(intent, checkpoint=checkpoint)
            self._keeper.name(checkpoint, self._request.label)
            disks = self._disks(checkpoint, points)
            files = configuration_files(self._machine, [disk.frozen for disk in disks.values()], self._places)
        except BaseException:
            with suppress(AdapterError):
                self._remove_left(intent)
            raise
        taken = Taken(self._request.label, self._machine, intent, reached, cause)
        return HypervSnapshot(self._keeper, self._tools.intents, taken, disks, files, hold)

    def _note(self, points: dict[str, ReferencePoint]) -> Intent:
        """Write down what is there before anything is asked for, and which reference points of ours are."""
        earlier = self._tools.intents.read(self._machine.id)
        ours = bases.points_of(self._request.bases, self._machine.id) | set(earlier.superseded if earlier else ())
        known = [*points, *(found.id for found in self._keeper.checkpoints())]
        since = self._read(lambda calls: calls.about()).now
        superseded = tuple(sorted(ours & points.keys()))
        return self._tools.intents.write(
            Intent(self._machine.id, self._request.label, tuple(known), since, superseded=superseded)
        )

    def _create(self, intent: Intent) -> tuple[str, Consistency, str | None]:
        """Take the checkpoint at the consistency that the policy and the guest allow."""
        policy = self._tools.settings.consistency
        rest = consistency.plan(self._machine, policy, self._request.consistency)
        leave_out = any(disk.fact.exclusion is not None for disk in self._found.disks)
        cause = rest.cause
        if rest.asked:
            try:
                return self._keeper.create("application", leave_out=leave_out), "application", None
            except JobFailed as failed:
                refusal = failed.error
            except (SourceDenied, SourceUnavailable):
                raise
            except AdapterError as error:
                refusal = error
            self._remove_left(intent)
            cause = consistency.after_refusal(self._machine, policy, refusal)
        try:
            return self._keeper.create("crash", leave_out=leave_out), "crash", cause
        except JobFailed as failed:
            raise failed.error from None

    def _remove_left(self, intent: Intent) -> None:
        """A checkpoint that failed may be there all the same."""
        for checkpoint in left_of(intent, self._keeper.checkpoints()):
            self._keeper.destroy_checkpoint(checkpoint.id)

    def _disks(self, checkpoint: str, points: dict[str, ReferencePoint]) -> dict[str, HypervDisk]:
        frozen = self._frozen(checkpoint)
        if missing := sorted(self._request.bases.keys() - frozen.keys()):
            raise SourceConflict(
                f"{self._machine.name} lost the disk {', '.join(missing)} while it was frozen", code="disk-missing"
            )
        return {key: self._disk(frozen[key], points) for key in self._request.bases}

    def _frozen(self, checkpoint: str) -> dict[str, Frozen]:
        """The disks of the checkpoint, never the machine's, which go on in other files."""
        attached = self._read(lambda calls: calls.checkpoint_disks(checkpoint))
        headers = self._read(lambda calls: calls.disk_files([disk.path for disk in attached if disk.kind == "file"]))
        disks = disks_of(replace(self._machine, disks=attached), headers, tracking=self._tools.tracking())
        return {
            disk.fact.key: Frozen(disk.fact, disk.attached.place, disk.header)
            for disk in disks
            if disk.header is not None and disk.fact.exclusion is None
        }

    def _disk(self, disk: Frozen, points: dict[str, ReferencePoint]) -> HypervDisk:
        tracking, changed = self._changed(disk, points)
        path = disk.file.path
        shared = SharedDisk(
            lambda: self._places.open_disk(path),
            label=disk.fact.label,
            identity=disk.file.virtual_disk_id,
            size_bytes=disk.file.size_bytes,
        )
        return HypervDisk(disk, tracking, changed, shared)

    def _changed(self, disk: Frozen, points: dict[str, ReferencePoint]) -> tuple[Tracked | Untracked, AreaList]:
        if disk.fact.tracking == "compare":
            return Untracked("compare"), AreaList()
        file = disk.file
        tracking, rct = bases.judge(self._request.bases[disk.fact.key], self._machine.id, file, disk.place, points)
        if rct is None:
            return tracking, AreaList()

        def ask(offset: int, length: int) -> ChangePage:
            return self._read(lambda calls: calls.changes(file.path, rct, offset, length))

        return changed_areas(ask, file.size_bytes)

    def _read(self, ask: Callable[[Calls], T]) -> T:
        return self._tools.hosts.read(self._machine.id, ask)

"""Taking a snapshot of a machine: the steps between finding it and having its frozen disks.

Imports `adapters.busy`, `adapters.errors`, `adapters.port` and this package. When a step after the snapshot fails, the
snapshot is removed again; should that fail, too, the error is the first one and `reconcile` finds the snapshot.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from pyVmomi import vim

from adapters.errors import AdapterError, SourceConflict, SourceInvalid, SourceLimit, SourceUnavailable
from adapters.frozendisk import FrozenDisk
from adapters.held import Hold
from adapters.port import (
    BlockReader,
    ConfigurationFile,
    Consistency,
    SnapshotRequest,
    Tracked,
    TransportChoice,
    Untracked,
)
from adapters.requests import require_disks
from adapters.vmware import quiesce
from adapters.vmware.arrays import Arrays, require_moment
from adapters.vmware.changeid import token
from adapters.vmware.configuration import configuration_files
from adapters.vmware.disks import Disk, disks_of
from adapters.vmware.inventory import Machine, require_reachable
from adapters.vmware.places import Stores, disk_facts, flat_path, split_file
from adapters.vmware.properties import read_object
from adapters.vmware.querying import allocated_areas, changed_since_base
from adapters.vmware.reading import AllocatedReader
from adapters.vmware.session import Session, UnansweredCall
from adapters.vmware.snapshot import Taken, VmwareSnapshot
from adapters.vmware.snapshots import SnapshotKeeper
from adapters.vmware.tasks import TaskFailed, TaskWaiter
from adapters.vmware.tracking import Tracking, ensure_tracking
from adapters.vmware.transport.access import DiskAccess
from adapters.vmware.transport.array.flow import ServerFree
from adapters.vmware.transport.array.port import Presented
from adapters.vmware.transport.choose import choose_transport
from adapters.vmware.transport.facts import DiskFacts, ProxyFacts
from adapters.vmware.transport.limits import connections_of

RESERVE_BYTES = 256 << 20
MOST_FILES = 30
"""How long a chain may be to begin with; vSphere takes 32."""


class OpenReader(Protocol):
    """Opens a frozen disk by the transport that was chosen; `presented` is the clone of an array that holds it."""

    def __call__(self, choice: TransportChoice, access: DiskAccess, presented: Presented | None, /) -> BlockReader:
        """Return the reader."""


@dataclass(frozen=True, slots=True)
class Tools:
    """What freezing works with, for as long as the source lives."""

    session: Session
    waiter: TaskWaiter
    keeper: SnapshotKeeper
    stores: Stores
    arrays: Arrays
    proxy: Callable[[], ProxyFacts]
    open_reader: OpenReader
    runtime_dir: Path


@dataclass(frozen=True, slots=True)
class Frozen:
    """A snapshot as the server describes it: its disks are those of its own configuration, never of the machine's."""

    moref: str
    config: Any
    disks: tuple[Disk, ...]


class Freezing:
    """One snapshot in the making."""

    def __init__(self, tools: Tools, machine: Machine, request: SnapshotRequest) -> None:
        self._tools = tools
        self._session = tools.session
        self._machine = machine
        self._request = request
        self._array: ServerFree | None = None
        self._on_array: dict[str, tuple[Disk, str]] = {}

    def take(self, hold: Hold) -> VmwareSnapshot:
        """Take the snapshot; `hold` is what it holds of this process."""
        require_reachable(self._machine)
        require_disks(self._machine.name, (disk.fact for disk in self._machine.disks or ()), self._request)
        if self._machine.consolidation_needed:
            self._tools.keeper.consolidate(self._machine)
        self._require_room()
        tracking = ensure_tracking(self._session, self._tools.waiter, self._machine)
        moref, consistency, cause = self._create()
        try:
            frozen = self._described(moref)
            if tracking.fresh and any(disk.change_id is None for disk in self._wanted(frozen.disks)):
                self._tools.keeper.remove(self._machine, moref)  # that was the stun which sets tracking off
                moref, consistency, cause = self._create()
                frozen = self._described(moref)
            return self._assembled(frozen, tracking, consistency, cause, hold)
        except BaseException:
            with suppress(AdapterError):
                self._tools.keeper.remove(self._machine, moref)
            raise

    def _require_room(self) -> None:
        """A guest stops when its snapshot fills the datastore, and no snapshot fits on a chain that is full."""
        for disk in self._machine.disks or ():
            if len(disk.chain) > MOST_FILES:
                raise SourceLimit(
                    f"{disk.fact.label} of {self._machine.name} has too many snapshots",
                    code="too-many-snapshots",
                    why=f"its chain has {len(disk.chain)} files",
                    hint="Remove snapshots that nobody needs, or consolidate its disks.",
                )
            free = self._tools.stores.free_bytes(disk.datastore) if disk.datastore is not None else None
            if free is not None and free < RESERVE_BYTES:
                raise SourceLimit(
                    f"The datastore of {disk.fact.label} of {self._machine.name} is almost full",
                    code="datastore-full",
                    why=f"{free} bytes are free, {RESERVE_BYTES} are kept for what the guest writes meanwhile",
                )

    def _create(self) -> tuple[str, Consistency, str | None]:
        """Take the snapshot at the consistency that the policy and the guest allow."""
        policy, keeper = self._session.settings.quiesce, self._tools.keeper
        label, wanted = self._request.label, self._request.consistency
        rest = quiesce.plan(self._machine, policy, wanted)
        cause = rest.cause
        for attempt in range(2 if rest.asked else 0):
            try:
                return keeper.create(self._machine, label, quiesce=True), *quiesce.reached(self._machine, wanted)
            except TaskFailed as failed:
                if not quiesce.is_refusal(failed.fault):
                    raise failed.error from None
                self._remove_half_made()
                if attempt:
                    cause = quiesce.after_refusal(self._machine, policy, failed.fault)
                else:
                    keeper.pause()
        try:
            return keeper.create(self._machine, label, quiesce=False), "crash", cause
        except TaskFailed as failed:
            raise failed.error from None

    def _remove_half_made(self) -> None:
        """A quiesced snapshot that failed may be there all the same."""
        if (found := self._tools.keeper.find(self._machine, self._request.label)) is not None:
            self._tools.keeper.remove(self._machine, found.moref)

    def _described(self, moref: str) -> Frozen:
        entity = self._session.bound(vim.vm.Snapshot, moref)
        config = read_object(self._session, entity, ["config"]).get("config")
        if config is None:
            raise SourceConflict(f"The snapshot of {self._machine.name} has no configuration", code="snapshot-lost")
        return Frozen(moref, config, disks_of(config.hardware.device))

    def _wanted(self, disks: Sequence[Disk]) -> list[Disk]:
        return [disk for disk in disks if disk.fact.key in self._request.bases]

    def _assembled(
        self,
        frozen: Frozen,
        tracking: Tracking,
        consistency: Consistency,
        cause: str | None,
        hold: Hold,
    ) -> VmwareSnapshot:
        wanted = self._wanted(frozen.disks)
        if missing := sorted(self._request.bases.keys() - {disk.fact.key for disk in wanted}):
            raise SourceConflict(
                f"{self._machine.name} lost the disk {', '.join(missing)} while it was frozen", code="disk-missing"
            )
        layout = read_object(
            self._session, self._session.bound(vim.VirtualMachine, self._machine.moref), ["layoutEx"]
        ).get("layoutEx")
        disks = {disk.fact.key: self._disk(frozen, disk, tracking, layout) for disk in wanted}
        files = self._configuration(frozen, layout)
        moref = frozen.moref if self._array is None else self._to_array(self._array, frozen.moref, set(disks))
        taken = Taken(self._request.label, self._machine, moref, consistency, cause, self._array)
        return VmwareSnapshot(self._tools.keeper, taken, disks, files, hold)

    def _to_array(self, array: ServerFree, moref: str, keys: set[str]) -> str | None:
        """Let the array freeze its disks; return the machine's snapshot where other disks still need it."""
        keeper, machine = self._tools.keeper, self._machine
        seen: list[Machine] = []
        needed = keys != self._on_array.keys()
        try:
            array.take(
                held=lambda: seen.append(keeper.require(machine, moref)),
                drop=lambda: None if needed else keeper.remove(machine, moref),
            )
            written = {disk.fact.key: disk for disk in seen[-1].disks or ()}
            for key, (disk, volume) in self._on_array.items():
                require_moment(array.presented(volume), disk, written.get(key))
        except BaseException:
            with suppress(AdapterError):
                array.release()
            raise
        return moref if needed else None

    def _configuration(self, frozen: Frozen, layout: Any) -> tuple[ConfigurationFile, ...]:
        stores = {disk.datastore for disk in frozen.disks if disk.datastore is not None}
        datacenter = self._tools.stores.get(min(stores)).datacenter_path if stores else ""
        return configuration_files(self._session, self._machine, frozen.config, layout, datacenter)

    def _disk(self, frozen: Frozen, disk: Disk, tracking: Tracking, layout: Any) -> FrozenDisk:
        session, machine = self._session, self._machine.moref
        base = self._request.bases[disk.fact.key]
        state, changed = changed_since_base(session, machine, frozen.moref, disk, base)
        if base is not None and isinstance(state, Untracked) and tracking.cause is not None:
            state = Untracked(tracking.cause)
        if disk.datastore is None:
            raise SourceInvalid(f"{disk.fact.label} is on no datastore", code="disk-placeless")
        store = self._tools.stores.get(disk.datastore)
        flat = flat_path(disk, layout)
        encrypted = self._machine.encrypted
        volume = self._tools.arrays.volume_of(store, disk, flat=flat is not None)
        facts = disk_facts(session, store, disk, flat=flat is not None, encrypted=encrypted, array_volume=volume)
        state, choice = self._way(facts, state)
        access = self._access(frozen, disk, flat, store.datacenter_path)
        if choice.kind == "array_snapshot" and volume is not None:
            readers = self._of_clone(frozen, disk, choice, access, volume)
        else:
            connections_of(session.settings, self._machine.host)
            readers = AllocatedReader(
                lambda: self._tools.open_reader(choice, access, None),
                lambda: allocated_areas(session, machine, frozen.moref, disk),
            )
        return FrozenDisk(disk.fact, token(disk), state, changed, choice, readers)

    def _of_clone(
        self, frozen: Frozen, disk: Disk, choice: TransportChoice, access: DiskAccess, volume: str
    ) -> AllocatedReader:
        """Read from the array; what the server can only tell while the machine's snapshot is there is asked now."""
        array = self._array = self._array or self._tools.arrays.begin(self._machine, self._request.label)
        array.want(volume)
        self._on_array[disk.fact.key] = (disk, volume)
        allocated = allocated_areas(self._session, self._machine.moref, frozen.moref, disk)
        return AllocatedReader(
            lambda: self._tools.open_reader(choice, access, array.presented(volume)), lambda: allocated
        )

    def _way(self, facts: DiskFacts, state: Tracked | Untracked) -> tuple[Tracked | Untracked, TransportChoice]:
        """Choose the transport. Where the only one left reads whole disks, the disk is read in full."""
        proxy, allowed = self._tools.proxy(), self._session.settings.transports
        if isinstance(state, Tracked):
            with suppress(SourceUnavailable):
                return state, choose_transport(replace(facts, incremental=True), proxy, allowed)
            state = Untracked("transport-full-only")
        return state, choose_transport(facts, proxy, allowed)

    def _access(self, frozen: Frozen, disk: Disk, flat: str | None, datacenter_path: str) -> DiskAccess:
        session, settings = self._session, self._session.settings
        datastore, path = split_file(disk.file)
        entity = session.bound(vim.vm.Snapshot, frozen.moref)
        return DiskAccess(
            host=settings.host,
            port=settings.port,
            user=settings.user,
            password=settings.password,
            ssl_context=session.context,
            thumbprint_sha1=session.thumbprint_sha1,
            cookie=session.cookie,
            vm_moref=self._machine.moref,
            snapshot_moref=frozen.moref,
            datastore=datastore,
            datacenter_path=datacenter_path,
            path=path,
            flat_path=flat,
            size_bytes=disk.fact.size_bytes,
            export_lease=lambda: _lease(session, entity),
            runtime_dir=self._tools.runtime_dir,
            vddk_dir=settings.vddk_dir,
            export_key=disk.export_key,
            renew=session.touch,
            host_moref=self._machine.host,
        )


def _lease(session: Session, snapshot: vim.vm.Snapshot) -> vim.HttpNfcLease:
    try:
        return session.effect("No lease on the snapshot was given", snapshot.ExportSnapshot)
    except UnansweredCall as unanswered:
        raise unanswered.error from None  # a lease that nobody renews ends by itself

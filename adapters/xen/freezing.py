"""Taking a snapshot of a machine: the steps between finding it and having its frozen disks.

Imports `adapters.errors`, `adapters.port` and this package. When a step after the snapshot fails, the snapshot is
removed again; should that fail, too, the error is the first one and `reconcile` finds the snapshot.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from adapters.areas import Area
from adapters.errors import AdapterError, SourceConflict, SourceInvalid
from adapters.frozendisk import FrozenDisk
from adapters.held import Hold
from adapters.port import BlockReader, SnapshotRequest, Tracked, TransportChoice, Untracked
from adapters.requests import require_disks
from adapters.sharing import SharedReader
from adapters.xen.configuration import configuration_files
from adapters.xen.disks import Disk
from adapters.xen.inventory import Machine
from adapters.xen.loose import tell_appeared
from adapters.xen.reaching import access_to
from adapters.xen.reconcile import older_bases
from adapters.xen.records import Vdi, Vm
from adapters.xen.session import Session
from adapters.xen.snapshot import Taken, XenSnapshot
from adapters.xen.snapshots import SnapshotKeeper
from adapters.xen.tokens import parse, token
from adapters.xen.tracking import WAS_OFF, changed_since_base, ensure_tracking, exported_since_base
from adapters.xen.transport.access import VdiAccess
from adapters.xen.transport.choose import choose_transport
from adapters.xen.transport.exportread import MOST_VHD_BYTES
from adapters.xen.transport.facts import VdiFacts, purposes_of


class OpenReader(Protocol):
    """Opens a frozen disk by the transport that was chosen."""

    def __call__(self, choice: TransportChoice, access: VdiAccess, /) -> BlockReader:
        """Return the reader."""


@dataclass(frozen=True, slots=True)
class Tools:
    """What freezing works with, for as long as the source lives."""

    session: Session
    keeper: SnapshotKeeper
    open_reader: OpenReader
    runtime_dir: Path
    sleep: Callable[[float], None] = time.sleep


class Freezing:
    """One snapshot in the making."""

    def __init__(self, tools: Tools, machine: Machine, request: SnapshotRequest) -> None:
        self._tools = tools
        self._session = tools.session
        self._machine = machine
        self._request = request
        self._asked = False

    def take(self, hold: Hold) -> XenSnapshot:
        """Take the snapshot; `hold` is what it holds of this process."""
        try:
            return self._taken(hold)
        except AdapterError as error:
            with suppress(AdapterError):  # they can be looked for later: a check names them, too
                if self._asked:
                    tell_appeared(self._session, self._machine, error)
            raise

    def _taken(self, hold: Hold) -> XenSnapshot:
        wanted = self._wanted()
        untracked = {key: ensure_tracking(self._session, disk) for key, disk in wanted.items()}
        leave_out = [disk.vbd.vdi for disk in self._machine.disks if disk.fact.key not in wanted]
        snapshot = self._create([vdi for vdi in leave_out if vdi is not None])
        try:
            return self._assembled(snapshot, wanted, self._frozen(snapshot, wanted), untracked, hold)
        except BaseException:
            with suppress(AdapterError):  # a snapshot whose disks cannot all be named stays whole
                self._tools.keeper.remove(snapshot, list(self._tools.keeper.disks(snapshot).values()), ())
            raise

    def _wanted(self) -> dict[str, Disk]:
        require_disks(self._machine.name, (disk.fact for disk in self._machine.disks), self._request)
        known = {disk.fact.key: disk for disk in self._machine.disks}
        return {key: known[key] for key in self._request.bases}

    def _create(self, leave_out: list[str]) -> Vm:
        self._asked = True
        try:
            return self._tools.keeper.create(self._machine.vm, self._request.label, leave_out)
        except SourceInvalid as error:
            if leave_out and error.code == "message-parameter-count-mismatch":
                raise SourceInvalid(
                    f"{self._machine.name} has disks that cannot be left out of its snapshot",
                    code="pool-too-old",
                    why="the pool takes snapshots of all disks only, as before XenServer 8 and XCP-ng 8.3",
                    hint="Upgrade the pool, or detach the disks that no snapshot can hold.",
                ) from None
            raise

    def _frozen(self, snapshot: Vm, wanted: Mapping[str, Disk]) -> dict[str, Vdi]:
        """The snapshot's disks by their places, marked as ours."""
        frozen = self._tools.keeper.disks(snapshot)
        for vdi in frozen.values():
            self._tools.keeper.mark(vdi, self._request.label, self._machine.key)
        for key, disk in wanted.items():
            if key not in frozen or disk.vdi is None or frozen[key].snapshot_of != disk.vdi.ref:
                raise SourceConflict(
                    f"{self._machine.name} lost the disk {disk.fact.label} while it was frozen", code="disk-missing"
                )
        return frozen

    def _assembled(
        self,
        snapshot: Vm,
        wanted: Mapping[str, Disk],
        frozen: Mapping[str, Vdi],
        untracked: Mapping[str, str | None],
        hold: Hold,
    ) -> XenSnapshot:
        disks = {key: self._disk(disk, frozen[key], untracked[key]) for key, disk in wanted.items()}
        session, key = self._session, self._machine.key
        live = [disk.vdi.ref for disk in wanted.values() if disk.vdi is not None]
        taken = Taken(
            label=self._request.label,
            machine=self._machine.vm,
            snapshot=snapshot,
            vdis=tuple(frozen.values()),
            whole=frozenset(frozen[key].uuid for key, disk in wanted.items() if self._keeps(disk, frozen[key])),
            fallback_cause=None if self._request.consistency == "crash" else "guest-not-asked",
            older=lambda kept: older_bases(session, live, key, kept),
        )
        files = configuration_files(session, self._machine, self._tools.runtime_dir)
        return XenSnapshot(self._tools.keeper, taken, disks, files, hold)

    def _disk(self, disk: Disk, frozen: Vdi, untracked: str | None) -> FrozenDisk:
        session, base = self._session, self._request.bases[disk.fact.key]
        fact = replace(disk.fact, size_bytes=frozen.size_bytes)
        formats = disk.repository.image_formats if disk.repository is not None else frozenset()
        access = access_to(session, frozen.uuid, fact.label, frozen.size_bytes, self._tools.runtime_dir, formats)
        state: Tracked | Untracked
        changed: Iterable[Area] = ()
        if (earlier := parse(base or "")) is not None and earlier.kept:
            state, changed = exported_since_base(access, earlier, fact.identity, frozen)
        elif untracked is not None and (base is not None or untracked != WAS_OFF):
            state = Untracked(untracked)
        else:
            state, changed = changed_since_base(session, base, fact.identity, frozen, sleep=self._tools.sleep)
        choice = self._choice(fact.label, frozen)
        readers = SharedReader(lambda: self._tools.open_reader(choice, access))
        kept = token(fact.identity, frozen, keep=self._keeps(disk, frozen))
        return FrozenDisk(fact, kept, state, changed, choice, readers)

    def _keeps(self, disk: Disk, frozen: Vdi) -> bool:
        """Whether the snapshot's disk is to stay whole: what it differs in from the next one, an export can tell.

        That is of VHDs only; older storage managers do not name their formats.
        """
        formats = disk.repository.image_formats if disk.repository is not None else frozenset()
        able = frozen.size_bytes <= MOST_VHD_BYTES and (not formats or "vhd" in formats)
        return self._session.settings.keep_snapshots and not frozen.tracking and able

    def _choice(self, label: str, frozen: Vdi) -> TransportChoice:
        """How the bytes are to travel, by what the pool's networks are for now."""
        session = self._session
        facts = VdiFacts(
            label=label,
            size_bytes=frozen.size_bytes,
            purposes=purposes_of(session.call("network.get_all_records").values()),
            nbd_addresses=len(session.call("VDI.get_nbd_info", frozen.ref)),
        )
        return choose_transport(facts, session.settings.transports)

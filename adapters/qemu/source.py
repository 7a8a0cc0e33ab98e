"""A running QEMU as a backup source: one process, one machine, reached through its QMP socket.

Imports `adapters.errors`, `adapters.port` and this package. What a backup puts into QEMU is named in `marks`,
made and removed in `parts`, and frozen by `snapshot`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from adapters.errors import AdapterError, SourceConflict, SourceDenied, SourceInvalid, SourceNotFound
from adapters.port import Consistency, Leftover, MachineFact, SnapshotRequest, SourceFact
from adapters.qemu import bases, parts, quiesce
from adapters.qemu.disks import list_disks
from adapters.qemu.guard import ScratchGuard, free_bytes, scratch_full
from adapters.qemu.marks import Place, marks
from adapters.qemu.qmp import Qmp
from adapters.qemu.snapshot import Freeze, QemuSnapshot, drop_new_bitmaps, freeze_actions, plan
from adapters.qemu.views import NameInfo, Uuid, VersionInfo

OLDEST_QEMU = (5, 2)
SCRATCH_RESERVE_BYTES = 256 << 20
_NO_UUID = "00000000-0000-0000-0000-000000000000"


class QemuSource:
    """The machine behind the QMP socket `qmp`; `guest_agent` is the host side of its agent's channel.

    `scratch_dir` takes what the guest overwrites during a backup: QEMU must be able to write there, too.
    A snapshot gives way when less than `scratch_reserve_bytes` are free in it. QEMU serves one QMP client at a
    time: a snapshot holds the connection until its release, which keeps a second backup out; all else lets it go. With
    one machine there is nothing for several threads to do at once: for one thread at a time.
    """

    kind = "qemu"

    def __init__(
        self,
        name: str,
        qmp: Path,
        scratch_dir: Path,
        *,
        guest_agent: Path | None = None,
        scratch_reserve_bytes: int = SCRATCH_RESERVE_BYTES,
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._name = name
        self._path = qmp
        self._place = Place(scratch_dir.absolute(), name, qmp.absolute().parent)
        self._agent = guest_agent
        self._reserve_bytes = scratch_reserve_bytes
        self._random_bytes = random_bytes
        self._snapshot: QemuSnapshot | None = None

    @property
    def consistency(self) -> Consistency:
        """File systems can be frozen where there is a guest agent."""
        return "crash" if self._agent is None else "filesystem"

    def check(self) -> SourceFact:
        """Ask for the version. Raises SourceInvalid for a QEMU that is too old, SourceLimit without scratch space."""
        with self._connection() as qmp:
            version = qmp.query("query-version", VersionInfo).qemu
        shown = f"{version.major}.{version.minor}.{version.micro}"
        if (version.major, version.minor) < OLDEST_QEMU:
            raise SourceInvalid(
                f"QEMU {shown} is too old", code="qemu-too-old", why="{}.{} or newer is needed".format(*OLDEST_QEMU)
            )
        self._require_scratch_space()
        abilities = ["incremental by dirty bitmaps", "all disks at one moment"]
        if self._agent is not None:
            quiesce.ask(self._agent, "guest-ping", quiesce.STATUS_SECONDS)
            abilities.append("file systems at rest through the guest agent")
        return SourceFact("QEMU", shown, tuple(abilities))

    def inventory(self) -> Sequence[MachineFact]:
        """List the one machine."""
        with self._connection() as qmp:
            return [self._machine(qmp)]

    def snapshot(self, machine: MachineFact, request: SnapshotRequest) -> QemuSnapshot:
        """Freeze the requested disks in one transaction; nothing is left behind when it fails."""
        self._require_idle()
        self._require_scratch_space()
        qmp = Qmp(self._path)
        try:
            self._require(qmp, machine)
            self._snapshot = self._take(qmp, self._plan(qmp, request), request)
        except BaseException:
            qmp.close()
            raise
        return self._snapshot

    def reconcile(self, machine: MachineFact, keep: Mapping[str, str]) -> Sequence[Leftover]:
        """Remove what our earlier runs left in this QEMU; bitmaps that a token of `keep` names stay as they are."""
        self._require_idle()
        cleaned = []
        with self._connection() as qmp:
            self._require(qmp, machine)
            if self._agent is not None and self._place.freeze_note.exists():
                quiesce.thaw(self._agent, self._place.freeze_note)
                cleaned.append(Leftover("the guest's file systems, frozen by an earlier run", "thawed"))
            cleaned += parts.remove_parts(qmp, self._place)
            kept = {base.bitmap for token in keep.values() if (base := bases.parse(token)) is not None}
            return cleaned + parts.remove_bitmaps(qmp, lambda _, bitmap: bitmap.name not in kept)

    def close(self) -> None:
        """Let go of an unreleased snapshot's connection; what it holds in QEMU is left to `reconcile`."""
        if self._snapshot is not None:
            self._snapshot.abandon()

    @contextmanager
    def _connection(self) -> Iterator[Qmp]:
        """The open snapshot's connection, or one for this purpose."""
        if self._snapshot is not None and not self._snapshot.qmp.closed:
            yield self._snapshot.qmp
            return
        qmp = Qmp(self._path)
        try:
            yield qmp
        finally:
            qmp.close()

    def _machine(self, qmp: Qmp) -> MachineFact:
        uuid = qmp.query("query-uuid", Uuid).UUID
        return MachineFact(
            key=self._name if uuid == _NO_UUID else uuid,
            name=qmp.query("query-name", NameInfo).name or self._name,
            disks=tuple(disk.fact for disk in list_disks(qmp)),
        )

    def _take(self, qmp: Qmp, freezes: Sequence[Freeze], request: SnapshotRequest) -> QemuSnapshot:
        directory = self._place.directory
        guard = ScratchGuard(qmp, directory, self._reserve_bytes, lambda: parts.remove_parts(qmp, self._place))
        try:
            consistency, fallback_cause = self._freeze(qmp, freezes, request.consistency)
            guard.start()
        except BaseException:
            with suppress(AdapterError):  # what cannot be removed now, the next reconcile removes
                parts.remove_parts(qmp, self._place)
                drop_new_bitmaps(qmp, freezes)
            raise
        return QemuSnapshot(request.label, qmp, self._place, guard, freezes, consistency, fallback_cause)

    def _plan(self, qmp: Qmp, request: SnapshotRequest) -> list[Freeze]:
        disks = {disk.fact.key: disk for disk in list_disks(qmp)}
        if missing := sorted(request.bases.keys() - disks.keys()):
            raise SourceNotFound(f"{self._name} has no disk {', '.join(missing)}", code="disk-missing")
        return [
            plan(disks[key], base, marks(request.label, self._random_bytes(16))) for key, base in request.bases.items()
        ]

    def _freeze(self, qmp: Qmp, freezes: Sequence[Freeze], wanted: Consistency) -> tuple[Consistency, str | None]:
        parts.start_server(qmp, self._place)
        for f in freezes:
            parts.add_frozen_view(qmp, self._place, f.marks, f.node, f.fact.size_bytes)
        reached = self._moment(wanted, lambda: qmp.execute("transaction", {"actions": freeze_actions(freezes)}))
        for f in freezes:
            parts.add_export(qmp, f.marks, with_bitmap=f.base_bitmap is not None)
        return reached

    def _moment(self, wanted: Consistency, transaction: Callable[[], None]) -> tuple[Consistency, str | None]:
        """Run the transaction at the consistency that is wanted, or at the best there is with the cause."""
        if wanted == "crash" or self._agent is None:
            transaction()
            return "crash", None if wanted == "crash" else "no-guest-agent"
        cause = quiesce.at_rest(self._agent, self._place.freeze_note, transaction)
        if cause is not None:
            return "crash", cause
        return "filesystem", None if wanted == "filesystem" else "applications-not-asked"

    def _require(self, qmp: Qmp, machine: MachineFact) -> None:
        found = self._machine(qmp)
        if machine.key != found.key:
            raise SourceNotFound(
                f"{machine.name} is not behind {self._path}", code="machine-missing", why=f"{found.name} is"
            )

    def _require_idle(self) -> None:
        if self._snapshot is not None and not self._snapshot.released:
            raise SourceConflict(
                f"A backup of {self._name} is running", code="backup-running", why=f"{self._snapshot.label} is open"
            )

    def _require_scratch_space(self) -> None:
        directory = self._place.directory
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise SourceDenied(
                f"The scratch directory {directory} cannot be made", code="scratch-denied", why=error.strerror or ""
            ) from None
        if (free := free_bytes(directory)) < self._reserve_bytes:
            raise scratch_full(directory, f"{free} bytes are free, the reserve is {self._reserve_bytes}")

"""The disks of one running QEMU, frozen at one moment.

Imports `adapters.errors`, `adapters.port`, `adapters.nbd` and this package. Invariants:

- One QMP transaction starts saving old data of all disks, starts a new bitmap on each, and copies each base's
  bitmap for export. QEMU holds all disks still while it runs.
- The base's bitmap is never stopped or changed. Until the new point is committed the old base therefore stays
  complete, whatever happens to us; giving up only removes the new bitmap.
- Only QEMU holds state, under our mark, so that another process of ours can clean up after this one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

from adapters.errors import SourceConflict, SourceInvalid
from adapters.nbd import BASE_ALLOCATION, NbdClient
from adapters.port import ConfigurationFile, Consistency, DiskFact, Extent, Tracked, TransportChoice, Untracked
from adapters.qemu import bases, parts
from adapters.qemu.disks import GRANULARITY_BYTES, LiveDisk
from adapters.qemu.guard import ScratchGuard
from adapters.qemu.marks import Marks, Place
from adapters.qemu.qmp import Qmp
from adapters.qemu.reading import FrozenReader, dirty_ranges
from adapters.qemu.views import Job


@dataclass(frozen=True, slots=True)
class Freeze:
    """What is about to be done to one disk."""

    fact: DiskFact
    node: str
    persistent: bool
    marks: Marks
    tracking: Tracked | Untracked
    base_bitmap: str | None


def plan(disk: LiveDisk, base: str | None, marks: Marks) -> Freeze:
    """Decide how to freeze a disk. Raises SourceInvalid for an excluded disk, SourceConflict for a busy one."""
    if disk.node is None:
        reason = disk.fact.exclusion
        raise SourceInvalid(
            f"The disk {disk.fact.label} cannot be backed up",
            code="disk-excluded",
            why=reason.reason if reason else "",
            hint=reason.way_out if reason else "",
        )
    if disk.in_job:
        raise SourceConflict(
            f"A block job is running on the disk {disk.fact.label}",
            code="block-job-running",
            why=f"its top node is a {disk.node.drv} filter",
            hint="Wait for the other backup, mirror or commit of this machine, or end it.",
        )
    tracking, bitmap = bases.judge(base, disk)
    return Freeze(disk.fact, disk.node.node_name, disk.node.keeps_bitmaps, marks, tracking, bitmap)


def freeze_actions(freezes: Sequence[Freeze]) -> list[dict[str, object]]:
    """The transaction: all jobs first, since each holds its disk still from its own turn to the end."""
    actions = [
        _action("blockdev-backup", **{"job-id": f.marks.job, "device": f.node, "target": f.marks.node, "sync": "none"})
        for f in freezes
    ]
    for f in freezes:
        new = {"node": f.node, "granularity": GRANULARITY_BYTES}
        add = "block-dirty-bitmap-add"
        actions.append(_action(add, name=f.marks.bitmap, persistent=f.persistent, **new))
        if f.base_bitmap is not None:
            copied = {"node": f.node, "target": f.marks.export_bitmap, "bitmaps": [f.base_bitmap]}
            actions.append(_action(add, name=f.marks.export_bitmap, disabled=True, **new))
            actions.append(_action("block-dirty-bitmap-merge", **copied))
    return actions


def _action(kind: str, **data: object) -> dict[str, object]:
    return {"type": kind, "data": data}


class QemuDisk:
    """One frozen disk."""

    choice: TransportChoice | None = None

    def __init__(self, freeze: Freeze, place: Place, guard: ScratchGuard) -> None:
        self.fact = freeze.fact
        self.tracking = freeze.tracking
        self.base_token: str | None = bases.token(freeze.marks.bitmap, freeze.fact)
        self._marks = freeze.marks
        self._place = place
        self._guard = guard

    def changes(self) -> Iterator[Extent]:
        """Yield what changed since the base. Raises SourceInvalid when it is not tracked."""
        if isinstance(self.tracking, Untracked):
            raise SourceInvalid(
                f"Changes of {self.fact.label} are not known", code="untracked", why=self.tracking.cause
            )
        context = f"qemu:dirty-bitmap:{self._marks.export_bitmap}"
        with closing(self.open()) as reader, closing(self._connect(context)) as bitmap:
            yield from reader.changes(dirty_ranges(bitmap, context))

    def open(self) -> FrozenReader:
        """Open a reader of the frozen view."""
        return FrozenReader(self._connect(BASE_ALLOCATION), self._guard)

    def _connect(self, context: str) -> NbdClient:
        with self._guard.connecting:
            self._guard.check()
            client = NbdClient(f"unix:{self._place.nbd_socket}", self._marks.export, contexts=(context,))
        if client.size_bytes == self.fact.size_bytes:
            return client
        client.close()
        raise SourceConflict(f"The disk {self.fact.label} was resized while it was frozen", code="disk-resized")


class QemuSnapshot:
    """All requested disks at one moment; holds the machine's QMP connection until it is released."""

    configuration: Sequence[ConfigurationFile] = ()

    def __init__(
        self,
        label: str,
        qmp: Qmp,
        place: Place,
        guard: ScratchGuard,
        freezes: Sequence[Freeze],
        consistency: Consistency,
        fallback_cause: str | None,
    ) -> None:
        self.label = label
        self.consistency = consistency
        self.fallback_cause = fallback_cause
        self.disks: Mapping[str, QemuDisk] = {f.fact.key: QemuDisk(f, place, guard) for f in freezes}
        self.released = False
        self.qmp = qmp
        self._place = place
        self._guard = guard
        self._freezes = freezes

    def confirm(self) -> None:
        """Check that every disk's old data was being saved all the time.

        The QMP connection has lasted since the transaction, so it is the same QEMU. Raises SourceLimit when
        scratch space ran out, SourceConflict when a job was ended by somebody, SourceUnavailable when QEMU is gone.
        """
        self._guard.check()
        running = {job.id for job in self.qmp.query("query-jobs", list[Job]) if job.status == "running"}
        ended = [f.fact.label for f in self._freezes if f.marks.job not in running]
        self._guard.check()
        if ended:
            raise SourceConflict(
                f"The snapshot of {', '.join(ended)} did not hold",
                code="snapshot-lost",
                why="its block job was ended by somebody else",
            )

    def release(self, *, committed: bool) -> None:
        """Remove the frozen views, then the bitmaps that are no longer in force."""
        if self.released:
            return
        self.released = True
        self._guard.stop()
        try:
            with self._guard.connecting:
                parts.remove_parts(self.qmp, self._place)
            if committed:
                self._drop_older_bitmaps()
            else:
                drop_new_bitmaps(self.qmp, self._freezes)
        finally:
            self.qmp.close()

    def abandon(self) -> None:
        """Let go of QEMU without removing anything; harmless after a release."""
        self.released = True
        self._guard.stop()
        self.qmp.close()

    def _drop_older_bitmaps(self) -> None:
        nodes = {f.node for f in self._freezes}
        new = {f.marks.bitmap for f in self._freezes}
        parts.remove_bitmaps(self.qmp, lambda node, bitmap: node in nodes and bitmap.name not in new)


def drop_new_bitmaps(qmp: Qmp, freezes: Sequence[Freeze]) -> None:
    """Remove what the transaction added; the bases' own bitmaps stay."""
    added = {name for f in freezes for name in (f.marks.bitmap, f.marks.export_bitmap)}
    parts.remove_bitmaps(qmp, lambda _, bitmap: bitmap.name in added)

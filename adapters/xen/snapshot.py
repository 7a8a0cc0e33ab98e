"""A machine's frozen disks. Imports `adapters.errors`, `adapters.port` and this package.

The pool holds the snapshot under our name, and its disks under our mark, so that another process of ours can remove
them when this one dies. What the bases in force need is destroyed only once the new restore point is committed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from adapters.busy import Claim
from adapters.frozendisk import FrozenDisk
from adapters.port import (
    ConfigurationFile,
    Consistency,
)
from adapters.xen.records import Vdi, Vm
from adapters.xen.snapshots import SnapshotKeeper


@dataclass(frozen=True, slots=True)
class Taken:
    """What a snapshot is, beside its disks: `vdis` are those of the pool, of which `whole` (uuids) stay if committed.

    `older` finds the disks of ours that were bases of the same disks before, once these, by their uuids, are.
    """

    label: str
    machine: Vm
    snapshot: Vm
    vdis: tuple[Vdi, ...]
    whole: frozenset[str]
    fallback_cause: str | None
    older: Callable[[frozenset[str]], Sequence[Vdi]]


class XenSnapshot:
    """All requested disks at one moment; `claim` keeps this process's other jobs from the machine until the release."""

    consistency: Consistency = "crash"

    def __init__(
        self,
        keeper: SnapshotKeeper,
        taken: Taken,
        disks: Mapping[str, FrozenDisk],
        configuration: Sequence[ConfigurationFile],
        claim: Claim,
        forget: Callable[[], None],
    ) -> None:
        self.label = taken.label
        self.fallback_cause = taken.fallback_cause
        self.disks: Mapping[str, FrozenDisk] = disks
        self.configuration = configuration
        self._keeper = keeper
        self._taken = taken
        self._claim = claim
        self._forget = forget
        self._released = False

    def confirm(self) -> None:
        """Raise SourceConflict when somebody removed the snapshot while it was read."""
        self._keeper.require(self._taken.machine, self._taken.snapshot)

    def release(self, *, committed: bool) -> None:
        """Close all readers, then remove the snapshot and see that it is gone. What fails, `reconcile` finds.

        With `committed` the change tracking of its disks stays, or they themselves do, and older bases go; without, all
        of the snapshot goes and the older bases stay.
        """
        if self._released:
            return
        self._released = True
        taken = self._taken
        kept = frozenset(vdi.uuid for vdi in taken.vdis) if committed else frozenset()
        whole = taken.whole if committed else frozenset()
        try:
            self.abandon()
            with ExitStack() as stack:
                if committed:
                    stack.callback(lambda: self._keeper.remove(None, taken.older(kept), ()))
                stack.callback(self._keeper.remove, taken.snapshot, taken.vdis, kept, whole)
        finally:
            self._claim.give_back()

    def abandon(self) -> None:
        """Close all readers and let the machine go, with the snapshot left to `reconcile`; harmless afterwards."""
        with ExitStack() as stack:
            stack.callback(self._forget)
            for disk in self.disks.values():
                stack.callback(disk.shut)
        if not self._released:
            self._released = True
            self._claim.give_back()

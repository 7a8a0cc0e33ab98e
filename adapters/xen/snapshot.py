"""A machine's frozen disks. Imports the shared modules of `adapters` and this package.

The pool holds the snapshot under our name, and its disks under our mark, so that another process of ours can remove
them when this one dies. What the bases in force need is destroyed only once the new restore point is committed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from adapters.frozendisk import FrozenDisk
from adapters.held import HeldSnapshot, Hold
from adapters.port import ConfigurationFile
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


class XenSnapshot(HeldSnapshot):
    """All requested disks at one moment, in a snapshot of the pool."""

    def __init__(
        self,
        keeper: SnapshotKeeper,
        taken: Taken,
        disks: Mapping[str, FrozenDisk],
        configuration: Sequence[ConfigurationFile],
        hold: Hold,
    ) -> None:
        super().__init__(taken.label, "crash", taken.fallback_cause, disks, configuration, hold)
        self._keeper = keeper
        self._taken = taken

    def confirm(self) -> None:
        """Raise SourceConflict when somebody removed the snapshot while it was read."""
        self._keeper.require(self._taken.machine, self._taken.snapshot)

    def _give_back(self, *, committed: bool) -> None:
        """Remove the snapshot and see that it is gone.

        With `committed` the change tracking of its disks stays, or they themselves do, and older bases go; without, all
        of the snapshot goes and the older bases stay.
        """
        taken = self._taken
        kept = frozenset(vdi.uuid for vdi in taken.vdis) if committed else frozenset()
        whole = taken.whole if committed else frozenset()
        with ExitStack() as stack:
            if committed:
                stack.callback(lambda: self._keeper.remove(None, taken.older(kept), ()))
            stack.callback(self._keeper.remove, taken.snapshot, taken.vdis, kept, whole)

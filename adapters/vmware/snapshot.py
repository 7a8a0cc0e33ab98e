"""A machine's frozen disks. Imports the shared modules of `adapters` and this package.

The server holds the snapshot under our label, so that another process of ours can remove it when this one dies. Change
ids are the server's: a base stays good whatever becomes of a run, and giving back is only removing the snapshot.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from adapters.frozendisk import FrozenDisk
from adapters.held import HeldSnapshot, Hold
from adapters.port import ConfigurationFile, Consistency
from adapters.vmware.inventory import Machine
from adapters.vmware.snapshots import SnapshotKeeper
from adapters.vmware.transport.array.flow import ServerFree


@dataclass(frozen=True, slots=True)
class Taken:
    """What a snapshot is, beside its disks.

    `moref` is the machine's snapshot, None when it was dropped because the disks are in the `array`'s.
    """

    label: str
    machine: Machine
    moref: str | None
    consistency: Consistency
    fallback_cause: str | None
    array: ServerFree | None = None


class VmwareSnapshot(HeldSnapshot):
    """All requested disks at one moment, in the machine's snapshot or the array's."""

    def __init__(
        self,
        keeper: SnapshotKeeper,
        taken: Taken,
        disks: Mapping[str, FrozenDisk],
        configuration: Sequence[ConfigurationFile],
        hold: Hold,
    ) -> None:
        super().__init__(taken.label, taken.consistency, taken.fallback_cause, disks, configuration, hold)
        self._keeper = keeper
        self._taken = taken

    def confirm(self) -> None:
        """Raise SourceConflict when somebody removed the snapshot, or its machine, while it was read.

        A clone of the array does not change: where all disks are read from clones there is nothing to confirm.
        """
        if self._taken.moref is not None:
            self._keeper.require(self._taken.machine, self._taken.moref)

    def _give_back(self, *, committed: bool) -> None:
        """Remove the snapshots and see that they are gone, whatever the outcome."""
        with ExitStack() as stack:
            if self._taken.array is not None:
                stack.callback(self._taken.array.release)
            if self._taken.moref is not None:
                self._keeper.remove(self._taken.machine, self._taken.moref)

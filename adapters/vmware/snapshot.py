"""A machine's frozen disks. Imports the shared modules of `adapters` and this package.

The server holds the snapshot under our label, so that another process of ours can remove it when this one dies. Change
ids are the server's: a base stays good whatever becomes of a run, and giving back is only removing the snapshot.
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


class VmwareSnapshot:
    """All requested disks at one moment; `claim` keeps this process's other jobs from the machine until the release."""

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
        self.consistency: Consistency = taken.consistency
        self.fallback_cause = taken.fallback_cause
        self.disks: Mapping[str, FrozenDisk] = disks
        self.configuration = configuration
        self._keeper = keeper
        self._taken = taken
        self._claim = claim
        self._forget = forget
        self._released = False

    def confirm(self) -> None:
        """Raise SourceConflict when somebody removed the snapshot, or its machine, while it was read.

        A clone of the array does not change: where all disks are read from clones there is nothing to confirm.
        """
        if self._taken.moref is not None:
            self._keeper.require(self._taken.machine, self._taken.moref)

    def release(self, *, committed: bool) -> None:
        """Close all readers, then remove the snapshots and see that they are gone. What fails, `reconcile` finds."""
        if self._released:
            return
        self._released = True
        try:
            self.abandon()
            with ExitStack() as stack:
                if self._taken.array is not None:
                    stack.callback(self._taken.array.release)
                if self._taken.moref is not None:
                    self._keeper.remove(self._taken.machine, self._taken.moref)
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

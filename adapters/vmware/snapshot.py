"""A machine's frozen disks. Imports `adapters.errors`, `adapters.port` and this package.

The server holds the snapshot under our label, so that another process of ours can remove it when this one dies. Change
ids are the server's: a base stays good whatever becomes of a run, and giving back is only removing the snapshot.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from adapters.errors import SourceConflict, SourceInvalid
from adapters.port import (
    BlockReader,
    ConfigurationFile,
    Consistency,
    DiskFact,
    Extent,
    Tracked,
    TransportChoice,
    Untracked,
)
from adapters.vmware.areas import AreaList
from adapters.vmware.busy import Claim
from adapters.vmware.inventory import Machine, look_at
from adapters.vmware.reading import SharedReader
from adapters.vmware.session import Session
from adapters.vmware.snapshots import SnapshotKeeper


class VmwareDisk:
    """One frozen disk."""

    def __init__(
        self,
        fact: DiskFact,
        base_token: str | None,
        tracking: Tracked | Untracked,
        changed: AreaList,
        choice: TransportChoice,
        readers: SharedReader,
    ) -> None:
        self.fact = fact
        self.base_token = base_token
        self.tracking = tracking
        self.choice: TransportChoice | None = choice
        self._changed = changed
        self._readers = readers

    def changes(self) -> Iterator[Extent]:
        """Yield what changed since the base. Raises SourceInvalid when it is not tracked."""
        if isinstance(self.tracking, Untracked):
            raise SourceInvalid(
                f"Changes of {self.fact.label} are not known", code="untracked", why=self.tracking.cause
            )
        if not len(self._changed):
            return
        handle = self._readers.open()
        try:
            yield from handle.changes(self._changed)
        finally:
            handle.close()

    def open(self) -> BlockReader:
        """Open a reader; all readers of the disk share one connection."""
        return self._readers.open()

    def shut(self) -> None:
        """Close the connection whoever still reads."""
        self._readers.shut()


@dataclass(frozen=True, slots=True)
class Taken:
    """What a snapshot is, beside its disks."""

    label: str
    machine: Machine
    moref: str
    consistency: Consistency
    fallback_cause: str | None


class VmwareSnapshot:
    """All requested disks at one moment; `claim` keeps this process's other jobs from the machine until the release."""

    def __init__(
        self,
        session: Session,
        keeper: SnapshotKeeper,
        taken: Taken,
        disks: Mapping[str, VmwareDisk],
        configuration: Sequence[ConfigurationFile],
        claim: Claim,
        forget: Callable[[], None],
    ) -> None:
        self.label = taken.label
        self.consistency: Consistency = taken.consistency
        self.fallback_cause = taken.fallback_cause
        self.disks: Mapping[str, VmwareDisk] = disks
        self.configuration = configuration
        self._session = session
        self._keeper = keeper
        self._taken = taken
        self._claim = claim
        self._forget = forget
        self._released = False

    def confirm(self) -> None:
        """Raise SourceConflict when somebody removed the snapshot, or its machine, while it was read."""
        now = look_at(self._session, self._taken.machine.moref)
        if all(node.moref != self._taken.moref for node in now.snapshots):
            raise SourceConflict(
                f"The snapshot of {now.name} did not hold",
                code="snapshot-lost",
                why="somebody removed it, or took the machine back to an older one",
            )

    def release(self, *, committed: bool) -> None:
        """Close all readers, then remove the snapshot and see that it is gone. What fails, `reconcile` finds."""
        if self._released:
            return
        self._released = True
        try:
            self.abandon()
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

"""A machine's frozen disks. Imports the shared modules of `adapters` and this package.

What is given back, and when, so that a kill at any moment loses neither data nor a base:

- until `confirm` the checkpoint is there, under our label and in the run's note;
- `confirm` turns it into a reference point, whose tracking ids are the base tokens that the commit makes durable. The
  note says so before and after: a kill in between leaves a reference point that no commit knows, and `reconcile`
  removes it, while those of the last restore point are untouched;
- only `release` after the commit removes the reference points of the last restore point. A kill before it leaves them
  in the note: `reconcile` removes them once the new base is in force.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from adapters.areas import AreaList
from adapters.frozendisk import FrozenDisk
from adapters.held import HeldSnapshot, Hold
from adapters.hyperv import bases
from adapters.hyperv.checkpoints import CheckpointKeeper
from adapters.hyperv.facts import DiskFile, Machine, ReferencePoint
from adapters.hyperv.intents import Intent, Intents, converted, ended
from adapters.hyperv.reading import TRANSPORT, SharedDisk
from adapters.port import (
    ConfigurationFile,
    Consistency,
    DiskFact,
    Tracked,
    TransportChoice,
    Untracked,
)


@dataclass(frozen=True, slots=True)
class Frozen:
    """A disk in its place in a checkpoint, and the file that holds it."""

    fact: DiskFact
    place: str
    file: DiskFile


class HypervDisk(FrozenDisk):
    """One frozen disk; its base token is known once the snapshot is confirmed."""

    def __init__(self, frozen: Frozen, tracking: Tracked | Untracked, changed: AreaList, files: SharedDisk) -> None:
        super().__init__(frozen.fact, None, tracking, changed, TransportChoice(TRANSPORT, None, ()), files)
        self.frozen = frozen

    def begin(self, machine_id: str, point: ReferencePoint) -> None:
        """Let the next backup's changes begin at a reference point, of a disk whose changes the host tells."""
        if self.fact.tracking == "rct":
            self.base_token = bases.token(machine_id, self.frozen.file, self.frozen.place, point)


@dataclass(frozen=True, slots=True)
class Taken:
    """What a snapshot is, beside its disks; `intent` is the run's note."""

    label: str
    machine: Machine
    intent: Intent
    consistency: Consistency
    fallback_cause: str | None


class HypervSnapshot(HeldSnapshot):
    """All requested disks at one moment, in a recovery checkpoint."""

    def __init__(
        self,
        keeper: CheckpointKeeper,
        intents: Intents,
        taken: Taken,
        disks: Mapping[str, HypervDisk],
        configuration: Sequence[ConfigurationFile],
        hold: Hold,
    ) -> None:
        super().__init__(taken.label, taken.consistency, taken.fallback_cause, disks, configuration, hold)
        self._tracked = tuple(disks.values())
        self._keeper = keeper
        self._intents = intents
        self._machine = taken.machine
        self._intent = taken.intent

    def confirm(self) -> None:
        """Turn the checkpoint, which must be there still, into a reference point, and tell the base tokens.

        A machine of whose disks the host tracks none needs no reference point, and may be unable to have one.
        """
        if self._intent.checkpoint is not None:
            self._keeper.require(self._intent.checkpoint)
        for disk in self._tracked:
            disk.shut()
        if all(disk.fact.tracking == "compare" for disk in self._tracked):
            return
        self._intent = self._intents.write(replace(self._intent, converting=True))
        point = self._keeper.convert(self._intent)
        self._intent = self._intents.write(replace(self._intent, reference_point=point.id))
        for disk in self._tracked:
            disk.begin(self._machine.id, point)

    def _give_back(self, *, committed: bool) -> None:
        """Remove the checkpoint, and what the outcome makes superfluous. See the module."""
        done = committed and self._intent.reference_point is not None
        self._settle() if done else self._undo()

    def _settle(self) -> None:
        """The new base is in force: those before it are not."""
        for point in self._intent.superseded:
            self._keeper.destroy_point(point)
        self._intents.write(ended(self._machine.id, filter(None, [self._intent.reference_point])))

    def _undo(self) -> None:
        """The bases of the last restore point stay in force: what this run made is removed."""
        checkpoints, points = self._keeper.checkpoints(), self._keeper.points()
        if any(found.id == self._intent.checkpoint for found in checkpoints) and self._intent.checkpoint is not None:
            self._keeper.destroy_checkpoint(self._intent.checkpoint)
        made = converted(self._intent, checkpoints, points.values())
        if len(made) > 1:
            return  # which one is ours nobody knows: the note stays, and `reconcile` tells
        if made and made[0] in points:
            self._keeper.destroy_point(made[0])
        self._intents.write(ended(self._machine.id, self._intent.superseded))

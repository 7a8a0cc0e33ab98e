"""Making, converting and removing a machine's checkpoints and reference points.

Imports `adapters.errors` and this package. A lost reply is no reason to ask twice: what became of it is seen at the
host, whichever that is by now.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal, TypeVar

from adapters.errors import AdapterError, SourceConflict, SourceNotFound, SourceUnavailable
from adapters.hyperv.calls import Calls
from adapters.hyperv.cluster import Hosts
from adapters.hyperv.facts import Checkpoint, Machine, ReferencePoint, Started
from adapters.hyperv.intents import Intent, converted
from adapters.hyperv.jobs import JobFailed
from adapters.hyperv.marks import checkpoint_name, checkpoint_notes

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a host may take, in seconds. Making must end before a note no longer tells what was made."""

    create_seconds: float = 1200
    name_seconds: float = 60
    merge_seconds: float = 6 * 3600


class CheckpointKeeper:
    """The checkpoints and reference points of one machine, at whatever host it is."""

    def __init__(self, hosts: Hosts, machine: Machine, patience: Patience) -> None:
        self._hosts = hosts
        self._machine = machine
        self._patience = patience

    def checkpoints(self) -> tuple[Checkpoint, ...]:
        """Those of all kinds."""
        return self._read(lambda calls: calls.checkpoints(self._machine.id))

    def points(self) -> dict[str, ReferencePoint]:
        """The reference points by their identifiers, other products' among them."""
        return {point.id: point for point in self._read(lambda calls: calls.reference_points(self._machine.id))}

    def create(self, consistency: Literal["application", "crash"], *, leave_out: bool) -> str:
        """Take a recovery checkpoint and return its identifier. Raises JobFailed with the host's reason."""
        what = f"No checkpoint of {self._machine.name} was made"
        made = self._hosts.run(
            self._machine.id,
            lambda calls: calls.create_checkpoint(self._machine.id, consistency, leave_out=leave_out),
            what,
            seconds=self._patience.create_seconds,
        )
        if len(made) != 1:
            raise SourceConflict(what, code="checkpoint-lost", why=f"the host names {len(made)} that it made")
        return made[0]

    def name(self, checkpoint: str, label: str) -> None:
        """Put our mark on a checkpoint. A host that does not let us is no obstacle: the run's note knows it, too."""
        with suppress(AdapterError, JobFailed):
            self._hosts.run(
                self._machine.id,
                lambda calls: calls.rename_checkpoint(checkpoint, checkpoint_name(label), checkpoint_notes(label)),
                f"The checkpoint of {self._machine.name} was not named",
                seconds=self._patience.name_seconds,
            )

    def require(self, checkpoint: str) -> None:
        """Raise SourceConflict when somebody removed the checkpoint."""
        if all(found.id != checkpoint for found in self.checkpoints()):
            raise _lost(self._machine)

    def convert(self, intent: Intent) -> ReferencePoint:
        """Replace the note's checkpoint by a reference point. Raises SourceConflict when the checkpoint is gone."""
        if intent.checkpoint is None:
            raise _lost(self._machine)
        checkpoint = intent.checkpoint
        what = f"The checkpoint of {self._machine.name} was not turned into a reference point"
        made: tuple[str, ...] = ()
        try:
            made = self._hosts.run(
                self._machine.id,
                lambda calls: calls.convert_to_reference_point(checkpoint),
                what,
                seconds=self._patience.merge_seconds,
            )
        except JobFailed as failed:
            raise failed.error from None
        except (SourceNotFound, SourceUnavailable) as lost:
            made = self._settled(intent, lost)
        points = self.points()
        found = [points[identifier] for identifier in made if identifier in points]
        if len(found) != 1:
            raise SourceConflict(what, code="reference-point-lost", why=f"of {len(made)} one is there: {len(found)}")
        return found[0]

    def destroy_checkpoint(self, checkpoint: str) -> None:
        """Remove a checkpoint and see that it is gone. One that is not there any more is none to remove."""
        what = f"A checkpoint of {self._machine.name} was not removed"
        self._destroy(
            lambda calls: calls.destroy_checkpoint(checkpoint),
            lambda: all(found.id != checkpoint for found in self.checkpoints()),
            what,
        )

    def destroy_point(self, point: str) -> None:
        """Remove a reference point and see that it is gone."""
        what = f"A reference point of {self._machine.name} was not removed"
        self._destroy(lambda calls: calls.destroy_reference_point(point), lambda: point not in self.points(), what)

    def _settled(self, intent: Intent, lost: AdapterError) -> tuple[str, ...]:
        """What became of a conversion whose end nobody told, because the machine moved or the connection broke."""
        checkpoints = self.checkpoints()
        made = converted(intent, checkpoints, self.points().values())
        if any(found.id == intent.checkpoint for found in checkpoints) or len(made) != 1:
            raise lost
        return made

    def _destroy(self, start: Callable[[Calls], Started], gone: Callable[[], bool], what: str) -> None:
        problem: AdapterError | None = None
        try:
            self._hosts.run(self._machine.id, start, what, seconds=self._patience.merge_seconds)
        except JobFailed as failed:
            problem = failed.error
        except (SourceNotFound, SourceUnavailable) as lost:
            problem = lost
        if not gone():
            raise problem or SourceConflict(what, code="checkpoint-remains", why="the host still shows it")

    def _read(self, ask: Callable[[Calls], T]) -> T:
        return self._hosts.read(self._machine.id, ask)


def _lost(machine: Machine) -> SourceConflict:
    return SourceConflict(
        f"The checkpoint of {machine.name} did not hold",
        code="snapshot-lost",
        why="somebody removed it, or took the machine back to an older one",
    )

"""Notes on what we are about to do to a machine, written before the host is asked. Imports this package.

A checkpoint without our name that a killed run left can be told from another product's by such a note alone: it was
not there before, it is a recovery checkpoint, and the host made it within the time that we would have waited for it.
The note lives in the worker's runtime directory: a worker elsewhere removes named checkpoints only. A reference point
is ours when a note or a base token has its identifier; one that was made in the moment before either knew of it is
told and left, unless nothing but our conversion can have made it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from adapters.hyperv.facts import Checkpoint, ReferencePoint
from adapters.hyperv.marks import is_ours

_NEVER = datetime.fromtimestamp(0, UTC)
_LATEST = timedelta(minutes=30)
"""How long after the note the host may have made what it was asked for: more than any wait of ours."""


@dataclass(frozen=True, slots=True)
class Intent:
    """A run's note: what was `known` (identifiers of checkpoints and reference points) before it asked for anything.

    `since` is the host's clock then. `checkpoint` and `reference_point` are what it made, as far as it came to know;
    `converting` says that it had the one turned into the other. `superseded` are our reference points from before,
    which have had their day when the run's own is in force. When the run is `over`, the note keeps only what is ours.
    """

    machine_id: str
    label: str
    known: tuple[str, ...]
    since: datetime
    checkpoint: str | None = None
    reference_point: str | None = None
    converting: bool = False
    superseded: tuple[str, ...] = ()
    over: bool = False


class Intents:
    """The notes of a source, one for each machine; `runtime_dir` is this worker's, `server` the host or cluster."""

    def __init__(self, runtime_dir: Path, server: str) -> None:
        self._folder = runtime_dir / "hyperv" / "".join(sign if sign.isalnum() else "-" for sign in server)

    def write(self, intent: Intent) -> Intent:
        """Put the note down, durably, in place of an earlier one of the machine."""
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._path(intent.machine_id)
        fresh = path.with_suffix(".new")
        with fresh.open("wb") as file:
            file.write(msgspec.json.encode(intent))
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        return intent

    def made(self, intent: Intent, *, checkpoint: str | None = None, reference_point: str | None = None) -> Intent:
        """Add to the note what the host made."""
        return self.write(
            replace(
                intent,
                checkpoint=checkpoint or intent.checkpoint,
                reference_point=reference_point or intent.reference_point,
            )
        )

    def read(self, machine_id: str) -> Intent | None:
        """The note of a machine; None where no run left one, or what it left cannot be read."""
        try:
            return msgspec.json.decode(self._path(machine_id).read_bytes(), type=Intent)
        except (FileNotFoundError, msgspec.MsgspecError):
            return None

    def _path(self, machine_id: str) -> Path:
        return self._folder / f"{machine_id}.json"


def ended(machine_id: str, ours: Iterable[str]) -> Intent:
    """The note of a machine that no run of ours works on: which reference points are ours."""
    return Intent(machine_id, "", (), _NEVER, superseded=tuple(ours), over=True)


def left_of(intent: Intent | None, checkpoints: Iterable[Checkpoint]) -> tuple[Checkpoint, ...]:
    """The checkpoints that runs of ours left: those with our mark, and the one that the note speaks of."""
    return tuple(found for found in checkpoints if is_ours(found) or (intent is not None and _meant(intent, found)))


def converted(intent: Intent, checkpoints: Iterable[Checkpoint], points: Iterable[ReferencePoint]) -> tuple[str, ...]:
    """Which reference points the note's conversion can have made: one for certain, or several of which one is ours.

    None of them when it did not take place: the checkpoint is there still.
    """
    if intent.reference_point is not None:
        return (intent.reference_point,)
    if not intent.converting or any(found.id == intent.checkpoint for found in checkpoints):
        return ()
    return tuple(point.id for point in points if point.id not in intent.known)


def _meant(intent: Intent, checkpoint: Checkpoint) -> bool:
    if intent.over or checkpoint.kind != "recovery" or checkpoint.id in intent.known:
        return False
    if intent.checkpoint is not None:
        return checkpoint.id == intent.checkpoint
    return intent.since <= checkpoint.created_at <= intent.since + _LATEST

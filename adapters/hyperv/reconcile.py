"""Removing what earlier runs left on a machine. Imports `adapters.port` and this package.

Checkpoints with our mark, and the one that the run's note knows, are removed; so are reference points of ours that no
base token in force names. Other people's checkpoints, automatic ones and other products' reference points stay.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from adapters.hyperv import bases
from adapters.hyperv.checkpoints import CheckpointKeeper
from adapters.hyperv.intents import Intents, converted, ended, left_of
from adapters.port import Leftover


def clean(keeper: CheckpointKeeper, intents: Intents, machine_id: str, keep: Mapping[str, str]) -> Sequence[Leftover]:
    """Remove checkpoints first, then reference points. Raises what keeps one of them, with the note as it was."""
    in_force = bases.points_of(keep, machine_id)
    note = intents.read(machine_id)
    checkpoints, points = keeper.checkpoints(), keeper.points()
    made = converted(note, checkpoints, points.values()) if note is not None else ()
    cleaned = []
    for checkpoint in left_of(note, checkpoints):
        keeper.destroy_checkpoint(checkpoint.id)
        cleaned.append(Leftover(f"checkpoint {checkpoint.name}", "removed"))
    ours = set(note.superseded if note is not None else ()) | set(made if len(made) == 1 else ())
    for point in sorted((ours & points.keys()) - in_force):
        keeper.destroy_point(point)
        cleaned.append(Leftover(f"reference point {point}", "removed"))
    if len(made) > 1:
        cleaned.append(Leftover(f"reference points {', '.join(made)}, of which one is ours", "left"))
    if note is not None or in_force:
        intents.write(ended(machine_id, sorted(in_force & points.keys())))
    return cleaned

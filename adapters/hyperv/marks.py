"""Whose a checkpoint or a machine is. Imports `adapters.errors` and this package.

Hyper-V takes no name of ours when a recovery checkpoint is made; it is named right after, by a second call, with the
label in its name and a sentence in its notes. Both must be there for it to be ours to remove. A reference point cannot
be named at all: `intents` and the base tokens know which are ours. For the moments before a name is there, and for
hosts that do not let us name a recovery checkpoint, there is the note that `intents` writes before any effect.
"""

from __future__ import annotations

import re

from adapters.errors import SourceInvalid
from adapters.hyperv.facts import Checkpoint, Machine

MARK = "holdfast-"
_CHECKPOINT = "Made by Holdfast for a backup, which removes it when it ends. Label: "
_MACHINE = "Being restored by Holdfast, which removes this note when the machine is whole. Label: "
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def checkpoint_name(label: str) -> str:
    """The name for a label. Raises SourceInvalid for what is no label."""
    require_label(label)
    return MARK + label.removeprefix(MARK)


def checkpoint_notes(label: str) -> str:
    """The notes for a label."""
    return _CHECKPOINT + label


def is_ours(checkpoint: Checkpoint) -> bool:
    """Whether a run of ours made and named the checkpoint."""
    named = checkpoint.name.startswith(MARK) and checkpoint.notes.startswith(_CHECKPOINT)
    return checkpoint.kind == "recovery" and named


def machine_notes(label: str) -> str:
    """The notes of a machine in the making, for a label."""
    require_label(label)
    return _MACHINE + label


def in_the_making(machine: Machine, label: str) -> bool:
    """Whether the machine is one that a restore of this label has not ended."""
    return machine.notes == _MACHINE + label


def has_mark(machine: Machine) -> bool:
    """Whether the machine is one that a restore of ours has not ended, whichever."""
    return machine.notes.startswith(_MACHINE)


def require_label(label: str) -> None:
    """Raise SourceInvalid for what is no label."""
    if not _LABEL.fullmatch(label):
        raise SourceInvalid(
            f"{label!r} cannot be a label",
            code="label",
            why="it takes up to 64 letters, digits, dots, hyphens and underscores",
        )

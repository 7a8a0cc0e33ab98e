"""Whose a checkpoint is, by its name and notes, and by the note that was written before it was asked for."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from adapters.errors import SourceInvalid
from adapters.hyperv.facts import Checkpoint, CheckpointKind
from adapters.hyperv.intents import Intent, Intents, left_of
from adapters.hyperv.marks import checkpoint_name, checkpoint_notes, is_ours

NOON = datetime(2026, 11, 27, 12, tzinfo=UTC)
OURS = Checkpoint("c1", "m1", "recovery", checkpoint_name("run-1"), checkpoint_notes("run-1"), NOON)
FOREIGN = Checkpoint("c2", "m1", "recovery", "web - Backup", "", NOON + timedelta(minutes=1))
INTENT = Intent("m1", "run-1", ("c0",), NOON)


def test_name_and_notes_together_are_our_mark() -> None:
    """One of them alone may be anybody's, and so may a person's checkpoint that was named like ours."""
    assert is_ours(OURS)
    assert not is_ours(replace(OURS, notes=""))
    assert not is_ours(replace(OURS, name="web"))
    assert not is_ours(replace(OURS, kind="user"))


@pytest.mark.parametrize("label", ["", "a b", "../x", "x" * 65, "a\n", "-a", "Ü"])
def test_what_is_no_label_is_no_name(label: str) -> None:
    """A label is in names at the host and in paths."""
    with pytest.raises(SourceInvalid):
        checkpoint_name(label)


def test_without_a_note_only_marked_checkpoints_are_ours() -> None:
    """Another product's backup in progress is left alone."""
    assert left_of(None, [OURS, FOREIGN]) == (OURS,)


@pytest.mark.parametrize(
    ("kind", "identifier", "minutes", "meant"),
    [
        ("recovery", "c9", 1, True),
        ("recovery", "c9", 29, True),
        ("recovery", "c9", 31, False),
        ("recovery", "c9", -1, False),
        ("recovery", "c0", 1, False),
        ("user", "c9", 1, False),
        ("other", "c9", 1, False),
    ],
)
def test_an_unnamed_checkpoint_is_ours_within_the_notes_bounds(
    kind: CheckpointKind, identifier: str, minutes: int, meant: bool
) -> None:
    """It must be a recovery checkpoint, be new since the note, and be made while we would have waited for it."""
    found = Checkpoint(identifier, "m1", kind, "web - Backup", "", NOON + timedelta(minutes=minutes))
    assert (left_of(INTENT, [found]) == (found,)) is meant


def test_a_note_that_names_its_checkpoint_means_no_other() -> None:
    """As soon as the run knows what it made, nothing is guessed."""
    intent = replace(INTENT, checkpoint="c9")
    ours = replace(FOREIGN, id="c9")
    assert left_of(intent, [FOREIGN, ours]) == (ours,)


def test_notes_survive_their_writer_and_are_kept_apart(tmp_path: Path) -> None:
    """Another process reads what was written; machines and servers have notes of their own."""
    notes = Intents(tmp_path, "hv1.corp.example:5986")
    notes.write(INTENT)
    notes.made(INTENT, checkpoint="c9")
    again = Intents(tmp_path, "hv1.corp.example:5986")
    assert again.read("m1") == replace(INTENT, checkpoint="c9")
    assert again.read("m2") is None
    assert Intents(tmp_path, "hv2.corp.example:5986").read("m1") is None


@pytest.mark.parametrize("content", [b"", b"{", b'{"machine_id": 5}', b"\xff\xfe"])
def test_a_note_that_cannot_be_read_is_no_note(tmp_path: Path, content: bytes) -> None:
    """A torn file stops no clean-up; what has our mark is found all the same."""
    notes = Intents(tmp_path, "hv1")
    notes.write(INTENT)
    (path,) = tmp_path.rglob("m1.json")
    path.write_bytes(content)
    assert notes.read("m1") is None

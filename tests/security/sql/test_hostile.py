"""Hostile statements against the door, with the check of statements off: what holds is the process."""

from __future__ import annotations

from itertools import islice

import pytest

from catalog.sql.door.door import SqlDoor
from catalog.sql.door.layers import Layer
from catalog.sql.entrance import Entrance, entrance
from tests.security.sql.canaries import Canaries, planted
from tests.security.sql.conftest import OpenDoor, without_comments
from tests.security.sql.hostile import BOMBS, Hostile, hostile, leaks, run_all, run_one, unexpected

STATEMENTS = hostile()
BRIEF = [each for each in STATEMENTS if each.category not in BOMBS]
BOMBING = [each for each in STATEMENTS if each.category in BOMBS]
CATEGORIES = sorted({each.category for each in BRIEF})
OF_FILES = ("diagnostics", "environment", "file_reads", "file_writes", "parser", "settings")
BITING = ("file_reads", "file_writes", "diagnostics", "environment", "parser", "scope")
MANY = 150
MANY_BITE = 45
BOMB_SECONDS = 0.5


def answers(door: SqlDoor, entrance: Entrance, canaries: Canaries) -> None:
    """A normal question still gets its answer."""
    outcome = run_one(door, entrance, canaries, Hostile("", "harmless", "SELECT name FROM machines"))
    assert b"own-web" in outcome.answer, outcome


def check_no_effect(
    door: SqlDoor, entrance: Entrance, canaries: Canaries, statements: list[Hostile], words: list[str]
) -> list[str]:
    """Run them; nothing is written, leaked or called, and the door still answers. Return those that were answered."""
    before = canaries.state()
    outcomes = run_all(door, entrance, canaries, statements)
    assert leaks(canaries, outcomes, words) == []
    assert canaries.state() == before
    assert not canaries.called()
    answers(door, entrance, canaries)
    return unexpected(outcomes)


def test_there_are_many_statements() -> None:
    """The list is long enough to mean something, and names no statement twice in a category."""
    assert len(STATEMENTS) >= MANY
    assert len({(each.category, each.text) for each in STATEMENTS}) == len(STATEMENTS)


@pytest.mark.parametrize("category", CATEGORIES)
def test_a_scoped_caller_finds_and_changes_nothing(
    open_door: OpenDoor, canaries: Canaries, scoped: Entrance, category: str
) -> None:
    """With all layers no statement has an effect or shows another machine, and what must be refused is."""
    statements = [each for each in BRIEF if each.category == category]
    words = canaries.secret_words + canaries.foreign_words
    assert check_no_effect(open_door("gate"), scoped, canaries, statements, words) == []


@pytest.mark.parametrize("category", OF_FILES)
def test_a_caller_of_everything_finds_and_changes_nothing_else(
    open_door: OpenDoor, canaries: Canaries, whole: Entrance, category: str
) -> None:
    """Where DuckDB opens the planned files itself, they are all that it can read, and it can't write to them."""
    statements = [each for each in BRIEF if each.category == category]
    assert check_no_effect(open_door("gate"), whole, canaries, statements, canaries.secret_words) == []


@pytest.mark.parametrize("layer", [layer for layer in Layer if layer is not Layer.NO_OPEN])
def test_no_layer_is_the_only_one(
    open_door: OpenDoor, canaries: Canaries, whole: Entrance, scoped: Entrance, layer: Layer
) -> None:
    """Whichever layer is missing, the others still keep every effect away."""
    door = open_door("gate", layer)
    reaching = [each for each in BRIEF if "$" in each.text or "/" in each.text or each.category == "scope"]
    natively = [each for each in reaching if each.category in ("file_reads", "file_writes", "diagnostics")]
    check_no_effect(door, whole, canaries, natively, canaries.secret_words)
    others = [each for each in reaching if each not in natively]
    check_no_effect(door, scoped, canaries, others, canaries.secret_words + canaries.foreign_words)


@pytest.mark.parametrize("without", [("gate",), ("gate", Layer.LIMITS)], ids=["all layers", "without limits"])
def test_bombs_end(open_door: OpenDoor, canaries: Canaries, whole: Entrance, without: tuple[str, ...]) -> None:
    """What would take all memory or all time ends as an error, at a limit or before, and the next is answered."""
    door = open_door(*without)
    statements = BOMBING if len(without) == 1 else [each for each in BOMBING if each.category == "memory_bombs"][:10]
    outcomes = run_all(door, whole, canaries, statements, seconds=BOMB_SECONDS)
    assert unexpected(outcomes) == []
    answers(door, whole, canaries)


def test_the_statements_bite(open_door: OpenDoor) -> None:
    """Without any layer many of these statements do what they are after, so that a refusal says something."""
    door = open_door("gate", "landlock, natively", *(set(Layer) - {Layer.LANDLOCK, Layer.NETWORK}))
    statements = [each for each in BRIEF if each.category in BITING and "/proc/self/fd" not in each.text]
    with planted() as victims:
        scoped = without_comments(entrance(victims.lake, machine_ids=frozenset([victims.own])))
        biting = (each for each in statements if _has_effect(door, scoped, victims, each))
        assert len(list(islice(biting, MANY_BITE))) == MANY_BITE


def _has_effect(door: SqlDoor, enters: Entrance, victims: Canaries, statement: Hostile) -> bool:
    before = victims.state()
    outcome = run_one(door, enters, victims, statement)
    changed = victims.state() != before
    return changed or bool(leaks(victims, [outcome], victims.secret_words + victims.foreign_words))

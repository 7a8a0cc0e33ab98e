"""Names and shortened identifiers mean one thing or are refused with the choices."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.queries.names import machine_names, pick_machine, pick_point
from storage.errors import Invalid, NotFound


@dataclass(frozen=True)
class Machine:
    machine_id: UUID
    name: str
    source: str


A = Machine(UUID(int=1), "web", "lab")
B = Machine(UUID(int=2), "web", "prod")
C = Machine(UUID(int=3), "db", "prod")
D = Machine(UUID(int=4), "db", "prod")
E = Machine(UUID(int=5), "mail", "prod")


def test_a_name_is_as_long_as_it_must_be() -> None:
    """NAME alone if one machine has it, with the source if several do, with the identifier if that is not enough."""
    assert machine_names([A, B, C, D, E]) == {
        A.machine_id: "lab/web",
        B.machine_id: "prod/web",
        C.machine_id: "prod/db (00000000)",
        D.machine_id: "prod/db (00000000)",
        E.machine_id: "mail",
    }


def test_machines_are_found_by_name_source_and_identifier() -> None:
    """Each way to say which machine leads to it."""
    known = [A, B, E]
    assert pick_machine("mail", known) == E
    assert pick_machine("prod/mail", known) == E
    assert pick_machine("lab/web", known) == A
    assert pick_machine(str(B.machine_id), known) == B
    assert pick_machine(B.machine_id.hex, known) == B


def test_a_name_of_several_machines_is_refused_with_the_choices() -> None:
    """Nobody guesses which machine was meant."""
    with pytest.raises(Invalid, match="web") as caught:
        pick_machine("web", [A, B])
    assert caught.value.code == "machine-ambiguous"
    assert "lab/web" in caught.value.hint
    assert "prod/web" in caught.value.hint
    with pytest.raises(NotFound) as missing:
        pick_machine("nope", [A, B])
    assert "lab/web" in missing.value.hint


@given(st.lists(st.uuids(), min_size=1, max_size=8, unique=True), st.integers(4, 32), st.data())
def test_a_prefix_finds_its_point_or_names_the_choices(points: list[UUID], length: int, data: st.DataObject) -> None:
    """Four or more digits of an identifier find it exactly when no other starts the same."""
    wanted = data.draw(st.sampled_from(points))
    prefix = wanted.hex[:length]
    same = [point for point in points if point.hex.startswith(prefix)]
    if len(same) == 1:
        assert pick_point(prefix.upper(), points) == wanted
        assert pick_point(str(wanted), points) == wanted
    else:
        with pytest.raises(Invalid) as caught:
            pick_point(prefix, points)
        assert caught.value.code == "point-ambiguous"


def test_an_ambiguous_prefix_lists_what_it_could_mean() -> None:
    """The choices are in the hint, the first few of them."""
    points = [UUID(int=(0xABCD << 112) + number) for number in range(9)]
    with pytest.raises(Invalid) as caught:
        pick_point("abcd", points)
    assert caught.value.code == "point-ambiguous"
    assert str(points[0]) in caught.value.hint
    assert "and 4 more" in caught.value.hint


@pytest.mark.parametrize("text", ["", "abc", "latest", "xyz1", "abcd%", "0" * 33, "ab cd"])
def test_what_cannot_be_an_identifier_is_refused(text: str) -> None:
    """Too short, too long or not hex: Invalid, whatever points there are."""
    with pytest.raises(Invalid) as caught:
        pick_point(text, [UUID(int=0)])
    assert caught.value.code == "point-text"


def test_an_unknown_prefix_is_not_found() -> None:
    """A well-formed identifier of nothing is NotFound."""
    with pytest.raises(NotFound):
        pick_point("ffff", [UUID(int=0)])

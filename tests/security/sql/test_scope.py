"""What enters for a caller of some machines: all of their rows, and none of anybody else's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest

from catalog.answers import AnswerFormat
from catalog.sql import entrance as entrances
from catalog.sql.door.answer import SqlQuestion
from catalog.sql.door.door import DoorLimits, SqlDoor
from catalog.sql.entrance import Entrance, entrance
from catalog.sql.views import VIEWS
from storage.errors import NotFound
from tests.security.sql.canaries import Canaries


@pytest.fixture(scope="module")
def door() -> Iterator[SqlDoor]:
    """A door as the service opens it."""
    with SqlDoor(DoorLimits(workers=2), spares=1) as found:
        yield found


def rows(door: SqlDoor, enters: Entrance, query: str) -> list[dict[str, Any]]:
    """The answer's rows, in an order of their own."""
    with door.ask(SqlQuestion(query, AnswerFormat.NDJSON), enters) as answer:
        lines = b"".join(answer).splitlines()
    return sorted((json.loads(line) for line in lines[:-1]), key=json.dumps)


@pytest.mark.parametrize("copied_rows", [0, entrances.MAX_COPIED_ROWS], ids=["filtered", "copied"])
@pytest.mark.parametrize("view", [view.name for view in VIEWS])
def test_every_view_has_exactly_the_own_rows(
    door: SqlDoor, canaries: Canaries, view: str, copied_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A view shows a scoped caller what it shows everybody, less the rows of other machines."""
    monkeypatch.setattr(entrances, "MAX_COPIED_ROWS", copied_rows)
    whole = entrance(canaries.lake, machine_ids=None)
    scoped = entrance(canaries.lake, machine_ids=frozenset([canaries.own]))
    # The days and gaps of `coverage` end with the last event that the caller may see.
    columns = "machine_id, machine, day, points, state" if view == "coverage" else "*"
    query = f"SELECT {columns} FROM {view}"  # noqa: S608 - our own names
    everything = rows(door, whole, query)
    own = [row for row in everything if not any(word in json.dumps(row) for word in canaries.foreign_words)]
    assert len(own) < len(everything) or view in ("snapshots", "deletions", "verifications")
    assert rows(door, scoped, query) == own


def test_a_caller_of_no_machine_sees_nothing(door: SqlDoor, canaries: Canaries) -> None:
    """A scope that holds no machine is not a scope of everything."""
    nothing = entrance(canaries.lake, machine_ids=frozenset())
    for view in VIEWS:
        assert rows(door, nothing, f"SELECT * FROM {view.name}") == []  # noqa: S608 - our own names


def test_positions_are_those_of_the_rows(door: SqlDoor, canaries: Canaries) -> None:
    """As of a position only what was known then is there; one that was not reached is not found."""
    end = canaries.lake.position()
    for position in (0, 2, end // 2, end):
        enters = entrance(canaries.lake, machine_ids=None, as_of=position)
        expected = [{"n": position}]
        assert enters.position == position
        assert rows(door, enters, "SELECT count(*) AS n FROM events") == expected
    for position in (-1, end + 1):
        with pytest.raises(NotFound):
            entrance(canaries.lake, machine_ids=None, as_of=position)


def test_keys_differ_where_rows_do(canaries: Canaries) -> None:
    """A worker that has its tables is only ever asked by who would be given the same."""
    scopes = [None, frozenset[UUID](), frozenset([canaries.own]), frozenset([canaries.own, canaries.foreign])]
    keys = {entrance(canaries.lake, machine_ids=each, as_of=at).key for each in scopes for at in (None, 1, 2)}
    assert len(keys) == len(scopes) * 3
    assert entrance(canaries.lake, machine_ids=None).key == entrance(canaries.lake, machine_ids=None).key

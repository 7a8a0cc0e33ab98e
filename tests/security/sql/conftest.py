"""Canaries for a module, and doors with all layers or without some."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest

from catalog.sql.door.door import DoorLimits, SqlDoor
from catalog.sql.door.platform import unsupported
from catalog.sql.entrance import Entrance, entrance
from tests.security.sql.canaries import Canaries, planted
from tests.support.leaky_zygote import leaky

LIMITS = DoorLimits(workers=3, threads=1)
OpenDoor = Callable[..., SqlDoor]


@pytest.fixture(scope="module", autouse=True)
def _supported() -> None:
    if why := unsupported():
        pytest.skip(why)


@pytest.fixture(scope="module")
def canaries() -> Iterator[Canaries]:
    """One set for a module."""
    with planted() as found:
        yield found


@pytest.fixture(scope="module")
def open_door(canaries: Canaries) -> Iterator[OpenDoor]:
    """Opens doors that lack layers; each stays open until the module ends."""
    del canaries  # They stand in the environment before any zygote starts.
    with ExitStack() as stack:
        doors: dict[tuple[str, ...], SqlDoor] = {}

        def opened(*without: str) -> SqlDoor:
            if without not in doors:
                doors[without] = stack.enter_context(SqlDoor(LIMITS, spares=0, new_zygote=leaky(without)))
            return doors[without]

        yield opened


@pytest.fixture(scope="module")
def whole(canaries: Canaries) -> Entrance:
    """What enters for callers of everything."""
    return without_comments(entrance(canaries.lake, machine_ids=None))


@pytest.fixture(scope="module")
def scoped(canaries: Canaries) -> Entrance:
    """What enters for a caller of one machine."""
    return without_comments(entrance(canaries.lake, machine_ids=frozenset([canaries.own])))


def without_comments(enters: Entrance) -> Entrance:
    """Half of a worker's start is describing columns, which changes nothing here."""
    return replace(enters, statements=tuple(each for each in enters.statements if each.startswith("CREATE")))

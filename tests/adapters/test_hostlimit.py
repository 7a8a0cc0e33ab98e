"""Whoever connects to a host takes a place first, and there are no more of them than the host takes."""

from __future__ import annotations

from threading import Thread

import pytest

from adapters.errors import SourceLimit
from adapters.hostlimit import HostPlaces, places_at
from tests.support.eventually import eventually


def test_places_are_counted() -> None:
    """The limit's places can be taken, one more cannot, and a place that is left can be taken again."""
    places = HostPlaces("hv1", 2)
    places.enter()
    assert places.try_enter()
    assert not places.try_enter()
    with pytest.raises(SourceLimit) as refused:
        places.enter(seconds=0)
    assert refused.value.code == "host-connections"
    places.leave()
    places.enter(seconds=0)
    assert places.open == 2


def test_who_waits_gets_the_place_that_is_left() -> None:
    """Who waits for a place has it as soon as somebody leaves, or as the limit is raised."""
    places = HostPlaces("hv1", 1)
    places.enter()
    waiting = [Thread(target=places.enter) for _ in range(2)]
    for thread in waiting:
        thread.start()
    places.leave()
    eventually(lambda: sum(thread.is_alive() for thread in waiting) == 1, "one has the place")
    places.limit(2)
    for thread in waiting:
        thread.join(30)
        assert not thread.is_alive()


def test_a_place_is_given_back_after_a_failure() -> None:
    """A place that is held for a block is free again when the block fails."""
    places = HostPlaces("hv1", 1)

    def fail() -> None:
        with places.one():
            assert places.open == 1
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert places.open == 0


def test_a_service_of_a_host_has_one_set_of_places() -> None:
    """Every job shares a host's places, however the host is capitalised; another service or port has its own."""
    places = places_at("smb", "HV1.example", 445, 4)
    assert places_at("smb", "hv1.example", 445, 4) is places
    assert places_at("smb", "hv1.example", 4450, 4) is not places
    assert places_at("nbd", "hv1.example", 445, 4) is not places

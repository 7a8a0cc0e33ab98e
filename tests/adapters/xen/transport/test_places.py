"""A host's places are counted over all jobs and processes, and no end of a process leaves one taken."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest

from adapters.errors import SourceUnavailable
from adapters.xen.transport.places import HostPlaces, Place
from tests.support.hold_places import other_process


def taken(places: HostPlaces) -> Place:
    """Take a place that is free."""
    place = places.try_enter()
    assert place is not None
    return place


def test_places_are_those_of_a_name(tmp_path: Path) -> None:
    """Places of one host are apart from another's, can all be taken, and are free again once left."""
    one, other = HostPlaces(tmp_path, "a", 2), HostPlaces(tmp_path, "b", 2)
    held = [taken(one), taken(one)]
    assert one.try_enter() is None
    taken(other).leave()
    held[0].leave()
    held[0].leave()
    taken(one).leave()
    held[1].leave()


def test_two_processes_share_the_places(tmp_path: Path) -> None:
    """What another process has taken is taken for us, and free once it ended, even by kill -9."""
    places = HostPlaces(tmp_path, "a", 3)
    with other_process(tmp_path, "a", 3, 2) as process:
        held = [taken(places)]
        assert places.try_enter() is None
        process.send_signal(signal.SIGKILL)
        assert process.wait(60) == -signal.SIGKILL
        held += [taken(places), taken(places)]
        assert places.try_enter() is None
    for place in held:
        place.leave()


def test_a_program_that_we_start_holds_no_place_on(tmp_path: Path) -> None:
    """A child that outlives the connection does not keep its place."""
    places = HostPlaces(tmp_path, "a", 1)
    place = taken(places)
    with subprocess.Popen(["sleep", "60"]) as child:
        try:
            place.leave()
            taken(places).leave()
        finally:
            child.kill()


def test_places_that_cannot_be_counted_are_an_error(tmp_path: Path) -> None:
    """Without a folder to count in no connection is made: the limit would be broken silently."""
    (tmp_path / "run").write_text("a file")
    with pytest.raises(SourceUnavailable) as unknown:
        HostPlaces(tmp_path / "run", "a", 1).try_enter()
    assert unknown.value.code == "host-connections-unknown"

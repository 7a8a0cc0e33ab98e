"""A host's places are counted over all jobs and processes, and no end of a process leaves one taken."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from adapters.errors import SourceLimit, SourceUnavailable
from adapters.xen.transport.places import HostPlaces

ROOT = Path(__file__).resolve().parents[4]


@contextmanager
def other_process(folder: Path, cap: int, count: int) -> Iterator[subprocess.Popen[str]]:
    """Another job that holds places of the host `a`."""
    command = [sys.executable, "-m", "tests.support.hold_places", str(folder), "a", str(cap), str(count)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == f"{count}\n"
        yield process
    finally:
        process.kill()
        process.wait(60)
        process.stdout.close()


def test_places_are_those_of_a_name(tmp_path: Path) -> None:
    """Places of one host are apart from another's, can all be taken, and are free again once left."""
    one, other = HostPlaces(tmp_path, "a", 2), HostPlaces(tmp_path, "b", 2)
    held = [one.enter(0), one.enter(0)]
    assert one.try_enter() is None
    with pytest.raises(SourceLimit) as full:
        one.enter(0)
    assert full.value.code == "host-connections"
    other.enter(0).leave()
    held[0].leave()
    held[0].leave()
    again = one.try_enter()
    assert again is not None
    again.leave()
    held[1].leave()


def test_two_processes_share_the_places(tmp_path: Path) -> None:
    """What another process has taken is taken for us, and free once it ended, even by kill -9."""
    places = HostPlaces(tmp_path, "a", 3)
    with other_process(tmp_path, 3, 2) as process:
        mine = places.try_enter()
        assert mine is not None
        assert places.try_enter() is None
        process.send_signal(signal.SIGKILL)
        assert process.wait(60) == -signal.SIGKILL
        held = [places.enter(60), places.enter(60)]
        assert places.try_enter() is None
    for place in (mine, *held):
        place.leave()


def test_a_program_that_we_start_holds_no_place_on(tmp_path: Path) -> None:
    """A child that outlives the connection does not keep its place."""
    places = HostPlaces(tmp_path, "a", 1)
    place = places.enter(0)
    with subprocess.Popen(["sleep", "60"]) as child:
        try:
            place.leave()
            again = places.try_enter()
            assert again is not None
            again.leave()
        finally:
            child.kill()


def test_waiting_looks_again_until_a_place_is_left(tmp_path: Path) -> None:
    """Who waits gets the place that is left meanwhile."""
    held = HostPlaces(tmp_path, "a", 1).enter(0)
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            held.leave()

    HostPlaces(tmp_path, "a", 1, clock=lambda: sum(waits), sleep=sleep).enter(60).leave()
    assert len(waits) == 3


def test_places_that_cannot_be_counted_are_an_error(tmp_path: Path) -> None:
    """Without a folder to count in no connection is made: the limit would be broken silently."""
    (tmp_path / "run").write_text("a file")
    with pytest.raises(SourceUnavailable) as unknown:
        HostPlaces(tmp_path / "run", "a", 1).try_enter()
    assert unknown.value.code == "host-connections-unknown"

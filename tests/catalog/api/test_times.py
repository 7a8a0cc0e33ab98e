"""When positions were recorded, and which disks a restore point left out."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import pytest

from catalog.api.times import PositionTimes
from tests.support.api_server import ApiServer, served
from tests.support.lab import KIB, MIB, Lab, make_image


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """One machine, a disk of which cannot be read."""
    made = Lab(tmp_path_factory.mktemp("times"))
    folder = made.images / "files"
    folder.mkdir()
    make_image(folder / "data.raw", MIB, [(0, b"x" * (100 * KIB))])
    for name in ("b.qcow2", "a.qcow2"):
        (folder / name).write_bytes(b"QFI\xfb" + bytes(60))
    made.add_images()
    made.run("backup", "lab")
    return made


@pytest.fixture(scope="module")
def server(lab: Lab) -> Iterator[ApiServer]:
    """It runs for all tests of this file."""
    with served(lab.home, with_door=False) as running:
        yield running


def test_answers_say_when_their_position_was_recorded(server: ApiServer, lab: Lab) -> None:
    """The time is that of the event at the position of the answer, whatever came later."""
    recorded = lab.recorded()
    for position in (1, 5, len(recorded)):
        if position <= server.services.reads.position:
            got = server.get(f"/v1/machines?as_of={position}")
            assert datetime.fromisoformat(got.headers["catalog-time"]) == recorded[position - 1].recorded_at


def test_no_event_has_no_time(server: ApiServer) -> None:
    """Before the first event there is no time to tell."""
    assert PositionTimes(server.services.catalog.log).shown(0) == ""
    assert "catalog-time" not in server.get("/v1/machines?as_of=0").headers


def test_left_out_disks_are_listed_with_their_way_out(server: ApiServer) -> None:
    """Each by its label, with why and what to do; page by page they are the same."""
    got = server.get("/v1/restore-points/latest/left-out")
    assert [row["label"] for row in got.items()] == ["a.qcow2", "b.qcow2"]
    assert all(row["reason"] and row["way_out"] for row in got.items())
    first = server.get("/v1/restore-points/latest/left-out?limit=1").json()
    second = server.get(f"/v1/restore-points/latest/left-out?limit=1&cursor={first['next']}").json()
    assert first["items"] + second["items"] == got.items()
    assert second["next"] is None

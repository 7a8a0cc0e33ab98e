"""Verifying: reads what it says it reads, records what it found, and shares work between points."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from catalog.domain import events as ev
from tests.support.lab import CHUNK, MIB, Lab, make_image, pieces, write_at


@pytest.fixture
def image(lab: Lab) -> Path:
    """An image with two points that share all chunks but one."""
    path = lab.images / "vm.raw"
    make_image(path, 4 * MIB, list(pieces(Random(71), [(0, 2 * MIB)])))
    lab.add_images()
    lab.backup()
    write_at(path, 3 * MIB, b"x")
    lab.backup()
    return path


def test_sound_points_are_ok_at_both_levels(lab: Lab, image: Path) -> None:
    """Nothing wrong is exit 0, an event for each point, and shown in the list and by `show`."""
    for level in ("stored", "content"):
        answer = lab.json("verify", "--level", level)
        assert answer["catalog_problems"] == []
        assert [row["result"] for row in answer["restore_points"]] == ["ok", "ok"]
    assert {(event.level, event.result) for event in lab.of_type(ev.RestorePointVerified)} == {
        ("stored", "ok"),
        ("content", "ok"),
    }
    rows = lab.json("points")
    assert [(row["verified_level"], row["verified_result"]) for row in rows] == [("content", "ok")] * 2


def test_what_points_share_is_read_once(lab: Lab, image: Path) -> None:
    """The second point costs the chunks that the first one does not have."""
    first, second = lab.json("verify")["restore_points"]
    assert first["checked_bytes"] == 2 * MIB
    assert second["chunks"] == first["chunks"] + 1
    assert second["checked_bytes"] == CHUNK


def test_one_point_alone(lab: Lab, image: Path) -> None:
    """A point that is named is verified alone; one that is unknown is exit 5."""
    point = lab.json("points")[0]["restore_point"]
    (row,) = lab.json("verify", point)["restore_points"]
    assert row["restore_point"] == point
    assert lab.fails(5, "verify", "beefbeef")["code"] == "restore-point-unknown"
    assert lab.fails(2, "verify", "--level", "wishful")["code"] == "usage"


def test_a_synthetic_full_is_verified_too(lab: Lab, image: Path) -> None:
    """It cites old packs, and is read back through them."""
    made = lab.json("synth", "vm")["restore_point"]
    (row,) = lab.json("verify", made)["restore_points"]
    assert (row["result"], row["chunks"]) == ("ok", 2 * MIB // CHUNK + 1)

"""Synthetic fulls: the same disk, written down as one point, without moving data."""

from __future__ import annotations

from random import Random

import pytest

from catalog.domain import events as ev
from tests.support.lab import CHUNK, MIB, Lab, make_image, pieces, punch, write_at

SIZE = 4 * MIB + 1000


@pytest.fixture
def contents(lab: Lab) -> list[bytes]:
    """What the image held at each of three restore points."""
    random, image = Random(21), lab.images / "vm.raw"
    make_image(image, SIZE, list(pieces(random, [(0, MIB), (2 * MIB + 99, 300_000), (SIZE - 10, 10)])))
    lab.add_images()
    found = []
    for number in range(3):
        write_at(image, 3 * MIB + number, b"change")
        punch(image, number * CHUNK, CHUNK)
        lab.backup()
        found.append(image.read_bytes())
    return found


def _points(lab: Lab) -> list[str]:
    return [row["restore_point"] for row in lab.json("points")]


def test_a_synthetic_full_is_its_point(lab: Lab, contents: list[bytes]) -> None:
    """It restores to the bytes of the point it was made of, reads no data and leaves every other point as it was."""
    packs = {path: path.stat().st_mtime_ns for path in lab.packs()}
    before = _points(lab)
    made = lab.json("synth", "vm")
    assert made["of_restore_point"] == before[-1]
    assert made["disks"][0]["read_bytes"] == made["disks"][0]["stored_bytes"] == 0
    assert lab.restored(made["restore_point"]) == contents[-1]
    assert [lab.restored(point) for point in before] == contents
    assert {path: path.stat().st_mtime_ns for path in lab.packs()} == packs
    (disk,) = lab.json("show", made["restore_point"])["disks"]
    assert (disk["level"], disk["cause"], disk["chain_points"]) == ("full", "synthetic", 1)


def test_the_next_incremental_builds_on_it(lab: Lab, contents: list[bytes]) -> None:
    """A backup after a synthetic full of the newest point is an incremental with a chain of two."""
    lab.ok("synth", "vm")
    write_at(lab.images / "vm.raw", 10, b"later")
    record = lab.backup_one()
    assert record["disks"][0]["new_chunks"] == 1
    (disk,) = lab.json("show", record["restore_point"])["disks"]
    assert (disk["level"], disk["chain_points"]) == ("incremental", 2)
    assert lab.restored(record["restore_point"]) == (lab.images / "vm.raw").read_bytes()


def test_a_plan_records_nothing(lab: Lab, contents: list[bytes]) -> None:
    """`--plan` says what the full would hold and leaves the log as it is."""
    before = lab.recorded()
    (row,) = lab.json("synth", "vm", "--plan")
    assert (row["disk"], row["chain_points"], row["size_bytes"]) == ("vm.raw", 3, SIZE)
    assert 0 < row["data_blocks"] * CHUNK <= SIZE + CHUNK
    assert lab.recorded() == before


def test_of_an_older_point(lab: Lab, contents: list[bytes]) -> None:
    """A synthetic full of an older point restores that point, and the next incremental still builds on the newest."""
    older = _points(lab)[0]
    made = lab.json("synth", "vm", "--at", older)
    assert lab.restored(made["restore_point"]) == contents[0]
    write_at(lab.images / "vm.raw", 10, b"later")
    record = lab.backup_one()
    assert record["disks"][0]["new_chunks"] == 1
    assert lab.restored(record["restore_point"]) == (lab.images / "vm.raw").read_bytes()


def test_of_a_synthetic_is_refused(lab: Lab, contents: list[bytes]) -> None:
    """A synthetic full of a synthetic full would say the same again: exit 2, and nothing is recorded."""
    made = lab.json("synth", "vm")["restore_point"]
    before = len(lab.of_type(ev.RestorePointCommitted))
    assert lab.fails(2, "synth", "vm", "--at", made)["code"] == "already-synthetic"
    assert len(lab.of_type(ev.RestorePointCommitted)) == before


def test_of_another_machine_is_refused(lab: Lab, contents: list[bytes]) -> None:
    """The point must be one of the machine that is named."""
    make_image(lab.images / "other.raw", MIB, [(0, b"1")])
    lab.backup(target="lab/other")
    assert lab.fails(5, "synth", "other", "--at", _points(lab)[0])["code"] == "restore-point-unknown"
    assert lab.fails(5, "synth", "nobody")["code"] == "machine-unknown"


def test_a_large_map_is_recorded_in_pieces(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """More rows than one batch holds become several, and give the same disk from the log alone."""
    monkeypatch.setattr("ingest.synth.BATCH_ROWS", 10)
    image = lab.images / "vm.raw"
    make_image(image, 4 * MIB, [(offset, b"%d" % offset) for offset in range(0, 25 * CHUNK, CHUNK)])
    lab.add_images()
    lab.backup()
    made = lab.json("synth", "vm")
    batches = [event for event in lab.of_type(ev.ChunksRecorded) if event.run_id == _run_of(lab, made)]
    assert [event.rows for event in batches] == [10, 10, 5]
    assert lab.restored(made["restore_point"], "--without-index") == image.read_bytes()


def _run_of(lab: Lab, made: dict[str, str]) -> object:
    points = lab.of_type(ev.RestorePointCommitted)
    return next(event.run_id for event in points if event.restore_point_id.hex == made["restore_point"])

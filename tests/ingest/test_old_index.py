"""A home that an earlier version worked on: its index has another shape, and nothing but the index notices."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from catalog.projections import TABLES
from storage.lake import Lake, TableSpec
from tests.support.lab import MIB, Lab, make_image, pieces

ADDED_TABLES = {"chunk_refs", "deletions"}
ADDED_COLUMNS = {"left_out_disks", "taken_at"}


def _before(spec: TableSpec) -> TableSpec:
    return replace(spec, columns=tuple(column for column in spec.columns if column.name not in ADDED_COLUMNS))


@pytest.fixture
def old(lab: Lab) -> Lab:
    """A home with a restore point, and the empty index of a version without deletions."""
    make_image(lab.images / "vm.raw", MIB, list(pieces(Random(1), [(0, 100_000)])))
    lab.add_images()
    lab.backup()
    Lake.drop(lab.home.lake_dir)
    tables = [_before(spec) for spec in TABLES if spec.name not in ADDED_TABLES]
    Lake.create(lab.home.lake_dir, tables).close()
    return lab


def test_the_next_question_makes_the_index_anew_and_says_why(old: Lab, caplog: pytest.LogCaptureFixture) -> None:
    """Reading commands answer right at once, after a word about what takes so long; a second one says nothing."""
    assert len(old.json("points")) == 1
    assert [record.message for record in caplog.records if "making it anew" in record.message]
    caplog.clear()
    assert old.json("sql", "SELECT count(*) AS points FROM restore_points WHERE taken_at IS NOT NULL") == [
        {"points": 1}
    ]
    assert not caplog.records
    assert "ok" in {row["status"] for row in old.json("doctor") if row["check"] == "index"}


def test_a_backup_goes_on_and_the_index_follows(old: Lab) -> None:
    """The next backup is an incremental, and is in the index afterwards."""
    assert old.backup_one()["disks"][0]["level"] == "incremental"
    assert len(old.json("points")) == 2


def test_a_restore_does_not_wait_for_the_index(old: Lab, caplog: pytest.LogCaptureFixture) -> None:
    """Bytes come back by the event log, the cause is told, and the old index stays as it is."""
    target = old.root / "out"
    answer = old.ok("restore", "latest", "--to", target)
    assert target.read_bytes() == (old.images / "vm.raw").read_bytes()
    assert "another shape" in answer.err
    assert not caplog.records


def test_doctor_says_what_to_do_and_changes_nothing(old: Lab) -> None:
    """The check fails with the command that helps."""
    (check,) = [row for row in old.run("doctor", "--json").json() if row["check"] == "index"]
    assert (check["status"], check["hint"]) == ("fail", "rebuild the index")
    old.ok("rebuild", "index")
    (check,) = [row for row in old.run("doctor", "--json").json() if row["check"] == "index"]
    assert check["status"] == "ok"

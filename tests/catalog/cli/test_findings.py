"""`coverage`, `refs`, `provenance` and `--as-of` as people use them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import pytest

from tests.support.lab import CHUNK, MIB, Lab, make_image, write_at


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    """A machine with a full of sixteen blocks and an incremental of one."""
    made = Lab(tmp_path)
    image = made.images / "vm.raw"
    make_image(image, MIB, [(0, Random(7).randbytes(MIB))])
    made.add_images()
    made.backup()
    write_at(image, CHUNK, Random(8).randbytes(CHUNK))
    made.backup()
    return made


def test_coverage_exits_by_what_it_finds(lab: Lab) -> None:
    """0 when the machine was covered, 3 when there are gaps, and the gaps are told."""
    today = datetime.now(UTC).date()
    covered = lab.json("coverage", "vm", "--from", str(today))
    assert (covered["covered"], covered["points"], covered["gaps"]) == (True, 2, [])
    until = str(today + timedelta(days=3))
    answer = lab.run("coverage", "vm", "--from", str(today), "--to", until, "--rpo", "24h", "--json")
    assert answer.code == 1
    (gap,) = answer.json()["gaps"]
    assert gap["end"].startswith(str(today + timedelta(days=4)))
    shown = lab.run("coverage", "lab/vm", "--from", str(today), "--to", until)
    assert (shown.code, shown.err) == (1, "")
    assert gap["start"][:16] in shown.out
    assert lab.fails(2, "coverage", "vm", "--from", "yesterday")["code"] == "time"
    assert lab.fails(2, "coverage", "vm", "--from", until, "--to", str(today))["code"] == "coverage-period"
    assert lab.fails(5, "coverage", "nobody", "--from", str(today))["code"] == "machine-unknown"


def test_provenance_adds_up(lab: Lab) -> None:
    """Each point supplies what no later one replaced."""
    first, second = (row["restore_point"] for row in lab.json("points"))
    rows = lab.json("provenance", "latest")
    assert [(row["seq"], row["blocks"], row["bytes"]) for row in rows] == [(1, 15, 15 * CHUNK), (2, 1, CHUNK)]
    assert [row["restore_point_id"].replace("-", "") for row in rows] == [first, second]
    assert [row["share"] for row in rows] == [15 / 16, 1 / 16]
    assert "93.8%" in lab.ok("provenance", second[:8]).out


def test_references_tell_who_holds_a_chunk(lab: Lab) -> None:
    """A chunk is found where it was written and, inherited, as long as nothing replaced it."""
    query = "SELECT lower(hex(digest)) AS digest, block FROM chunks WHERE seq = 1 AND block IN (0, 1) ORDER BY block"
    kept, replaced = (row["digest"] for row in lab.json("sql", query))
    first, second = (row["restore_point"] for row in lab.json("points"))
    (row,) = lab.json("refs", kept)
    assert (row["machine"], row["first_block"], row["blocks"]) == ("vm", 0, 1)
    assert row["restore_point_id"].replace("-", "") == first
    (row,) = lab.json("refs", kept.upper(), "--inherited")
    assert (row["points"], row["last_seq"], row["until_restore_point_id"]) == (2, 2, None)
    (row,) = lab.json("refs", replaced, "--inherited")
    assert (row["points"], row["until_restore_point_id"].replace("-", "")) == (1, second)
    assert lab.json("refs", "0" * 64) == []
    assert lab.fails(2, "refs", "beef")["code"] == "digest-text"


def test_the_past_is_answered_as_it_was_known(lab: Lab) -> None:
    """`--as-of` takes a position or a time; what came later is not there, also what was deleted since is."""
    points = lab.json("points")
    then = points[0]["position"]
    lab.ok("forget", points[0]["restore_point"], "--reason", "old", "--yes")
    assert [row["restore_point"] for row in lab.json("points")] == [points[1]["restore_point"]]
    assert [row["restore_point"] for row in lab.json("points", "--as-of", str(then))] == [points[0]["restore_point"]]
    assert lab.json("points", "--as-of", points[1]["recorded_at"]) == points
    assert lab.json("machines", "--as-of", str(then))[0]["restore_points"] == 1
    assert lab.json("show", "latest", "--as-of", str(then))["restore_point"] == points[0]["restore_point"]
    assert lab.json("events", "--as-of", str(then))[-1]["position"] == then
    assert lab.json("machines", "--as-of", "0") == []
    for text in ("tomorrow", "2026-01-01", "-1"):
        assert lab.fails(2, "points", "--as-of", text)["code"] == "as-of-invalid"
    assert lab.fails(2, "points", "--as-of", "99999")["code"] == "as-of-position"

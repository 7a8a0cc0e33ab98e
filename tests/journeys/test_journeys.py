"""What the product is for, each in the few commands that the README shows, on real image files."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import duckdb
import pytest

from tests.support.lab import MIB, REPOSITORY, Lab, holdfast


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    """Two machines that share data, five points each, and a place for checkpoints outside the home."""
    lab = Lab(tmp_path)
    (tmp_path / "worm").mkdir()
    shared = Random(1).randbytes(MIB)
    for name in ("web", "db"):
        (lab.images / f"{name}.raw").write_bytes(shared + Random(name).randbytes(MIB))
    lab.ok("source", "add", "lab", "--kind", "image", "--path", lab.images)
    lab.ok("ledger", "place", "add", "worm", "--dir", tmp_path / "worm")
    for salt in range(5):
        for name in ("web", "db"):
            with (lab.images / f"{name}.raw").open("r+b") as file:
                file.seek(MIB + salt * 200_000)
                file.write(Random(f"{name}{salt}").randbytes(70_000))
        lab.ok("backup", "lab")
    lab.ok("key", "export", "--to", tmp_path / "key.txt")
    lab.ok("ledger", "checkpoint")
    return lab


def test_an_auditor_proves_coverage_to_somebody_without_the_catalog(lab: Lab) -> None:
    """One command writes the proof; one, with the public key and no home, checks it; a changed one does not verify."""
    bundle, key = lab.root / "proof.bundle", lab.ok("ledger", "key").out.strip()
    points = [datetime.fromisoformat(point["recorded_at"]) for point in lab.json("points", "web")]
    period = ("--from", points[0].isoformat(), "--to", points[-1].isoformat())
    lab.ok("prove", "coverage", "--machine", "web", *period, "--rpo", "24h", "-o", bundle)
    check = [sys.executable, "-c", "from ingest.cli import main; main()", "--home", str(lab.root / "nowhere")]
    command = [*check, "prove", "check", str(bundle), "--key", key, "--json"]
    passed = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert passed.returncode == 0, passed.stderr
    assert json.loads(passed.stdout)["passed"] is True
    data = bytearray(bundle.read_bytes())
    data[len(data) // 3] ^= 4
    bundle.write_bytes(data)
    assert subprocess.run(command, cwd=REPOSITORY, capture_output=True, check=False).returncode == 4


def test_an_analyst_asks_for_change_rates_and_deduplication(lab: Lab) -> None:
    """One statement answers; the exported tables give the same in the analyst's own DuckDB."""
    question = (
        "SELECT m.name, sum(d.changed_bytes) / sum(d.size_bytes) AS rate FROM disk_points d "
        "JOIN machines m USING (machine_id) WHERE d.level = 'incremental' GROUP BY ALL ORDER BY 1"
    )
    rows = lab.json("sql", question)
    rows = rows["rows"] if isinstance(rows, dict) else rows
    assert [row["name"] for row in rows] == ["db", "web"]
    assert all(0 < row["rate"] < 1 for row in rows)
    lab.ok("export-tables", lab.root / "tables", "--view", "disk_points", "--view", "machines", "--view", "chunks")
    con = duckdb.connect()
    for view in ("disk_points", "machines", "chunks"):
        con.execute(f"CREATE VIEW {view} AS FROM '{lab.root / 'tables' / view}.parquet'")
    assert con.sql(question).fetchall() == [(row["name"], row["rate"]) for row in rows]
    (ratio,) = con.sql("SELECT count(*) / count(DISTINCT digest) FROM chunks").fetchall()[0]
    assert ratio > 1


def test_an_admin_makes_a_synthetic_full_and_restores_it(lab: Lab) -> None:
    """The plan says what it would hold, the full reads nothing, and its restore has the bytes of the image."""
    plan = lab.json("synth", "web", "--plan")
    assert plan[0]["chain_points"] == 5
    made = lab.json("synth", "web")
    assert [disk["read_bytes"] for disk in made["disks"]] == [0]
    assert lab.json("verify", made["restore_point"])["restore_points"][0]["result"] == "ok"
    lab.ok("restore", "latest:web", "--to", lab.root / "back.raw")
    assert (lab.root / "back.raw").read_bytes() == (lab.images / "web.raw").read_bytes()


def test_whoever_is_on_call_gets_a_lost_catalog_back(lab: Lab) -> None:
    """The store and the key make a new home in one command, and a kept checkpoint says that nothing is missing."""
    before = lab.json("points")
    shutil.move(lab.home.store_dir, lab.root / "store")
    shutil.rmtree(lab.home.root)
    report = lab.json("recover", "--from", lab.root / "store", "--key", lab.root / "key.txt")
    assert report["lost"] == []
    assert lab.json("points") == before
    kept = max((path for path in (lab.root / "worm").rglob("*") if path.is_file()), key=lambda path: path.name)
    lab.ok("ledger", "check", "--checkpoint", kept)
    today = f"{datetime.now(UTC):%F}"
    assert holdfast("--home", lab.home.root, "coverage", "web", "--from", today, "--to", today).code in (0, 1)
    lab.ok("restore", "latest:db", "--to", lab.root / "db.raw")
    assert (lab.root / "db.raw").read_bytes() == (lab.images / "db.raw").read_bytes()

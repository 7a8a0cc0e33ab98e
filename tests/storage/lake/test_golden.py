"""A lake written by format 1 opens for ever; its golden copy is a dump of the catalog and the data files."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from storage.lake import Lake
from tests.support.lake import SPECS, all_rows, fill

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "lake"


def by_text(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows in an order of their own."""
    return sorted(rows, key=repr)


@pytest.fixture(name="golden")
def fixture_golden(tmp_path: Path) -> Path:
    """The golden lake, restored to a folder."""
    root = tmp_path / "golden"
    shutil.copytree(GOLDEN / "data", root / "data")
    with closing(sqlite3.connect(root / "lake.sqlite")) as db:
        db.executescript((GOLDEN / "lake.sql").read_text())
    return root


def test_format_1_reads_verifies_and_goes_on(golden: Path, lake: Lake) -> None:
    """The golden lake holds the rows it was written with, at every snapshot, and takes further commits."""
    fill(lake, 4)
    old = Lake.open(golden, SPECS)
    try:
        assert [(s.id, s.position) for s in old.snapshots()] == [(1, 0), (2, 1), (3, 2), (4, 3), (5, 3), (6, 4)]
        for ours, theirs in ((2, 2), (4, 5), (5, 6)):
            for spec in SPECS:
                expected = by_text(all_rows(lake, spec.name, snapshot=ours))
                assert by_text(all_rows(old, spec.name, snapshot=theirs)) == expected
        assert list(old.verify()) == []
        fill(old, 1)
        assert old.position() == 5
    finally:
        old.close()


def test_the_catalogs_tables_are_those_of_format_1(golden: Path, lake: Lake) -> None:
    """A new catalog has exactly the tables and indexes of format 1; another shape needs another number."""
    sql = "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY name"
    with closing(sqlite3.connect(golden / "lake.sqlite")) as db:
        assert lake.catalog.rows(sql) == db.execute(sql).fetchall()

"""Creating and opening a lake."""

from __future__ import annotations

import os
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from storage.errors import Conflict, Corrupt, Invalid, NotFound
from storage.lake import Column, Lake, TableSpec
from tests.support.lake import BLOCKS, NOTES, SPECS, all_rows, fill


def change(root: Path, sql: str) -> None:
    """Change the catalog behind the lake's back."""
    with closing(sqlite3.connect(root / "lake.sqlite", isolation_level=None)) as db:
        db.execute(sql)


def test_a_new_lake_is_at_position_zero(lake: Lake) -> None:
    """A created lake has one snapshot, position 0 and no rows."""
    assert lake.position() == 0
    assert [(s.id, s.position) for s in lake.snapshots()] == [(1, 0)]
    assert all_rows(lake, "blocks") == []


def test_creating_twice_is_a_conflict(lake: Lake, root: Path) -> None:
    """An existing lake is never replaced, and a refused creation leaves nothing."""
    before = sorted(os.listdir(root))
    with pytest.raises(Conflict) as error:
        Lake.create(root, SPECS)
    assert (error.value.code, sorted(os.listdir(root))) == ("lake-exists", before)


def test_no_lake_is_not_found(tmp_path: Path) -> None:
    """Opening creates nothing."""
    with pytest.raises(NotFound):
        Lake.open(tmp_path, SPECS)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "sql",
    ["UPDATE ducklake_metadata SET value = '1.1' WHERE key = 'version'", "UPDATE holdfast_format SET version = 2"],
)
def test_a_newer_format_is_refused(lake: Lake, root: Path, sql: str) -> None:
    """A catalog of another DuckLake or Holdfast version is not opened."""
    lake.close()
    change(root, sql)
    with pytest.raises(Invalid) as error:
        Lake.open(root, SPECS)
    assert error.value.code == "lake-version"


@pytest.mark.parametrize(
    "spec",
    [
        replace(NOTES, columns=NOTES.columns[:-1]),
        replace(NOTES, columns=(*NOTES.columns[:-1], replace(NOTES.columns[-1], nullable=False))),
        replace(NOTES, columns=(replace(NOTES.columns[0], type="int64"), *NOTES.columns[1:])),
        TableSpec("unheard", (Column("a", "int32"),)),
        replace(BLOCKS, partition=None),
    ],
)
def test_other_tables_are_refused(lake: Lake, root: Path, spec: TableSpec) -> None:
    """A lake whose tables have another shape than the code writes is not opened."""
    with pytest.raises(Invalid) as error:
        Lake.open(root, [spec])
    assert error.value.code == "lake-schema"


@pytest.mark.parametrize("content", [b"", b"not a database at all" * 1000])
def test_a_file_that_is_no_catalog_is_corrupt(tmp_path: Path, content: bytes) -> None:
    """An empty or foreign file in the catalog's place is named, and can be dropped."""
    (tmp_path / "lake.sqlite").write_bytes(content)
    with pytest.raises(Corrupt) as error:
        Lake.open(tmp_path, SPECS)
    assert error.value.code == "lake-catalog"
    Lake.drop(tmp_path)
    Lake.create(tmp_path, SPECS).close()


def test_a_moved_lake_reads_and_says_where_it_is(lake: Lake, root: Path, tmp_path: Path) -> None:
    """File paths are relative; opening at a new place corrects the one absolute path for other readers."""
    fill(lake, 2)
    rows = all_rows(lake, "blocks")
    lake.close()
    moved = root.rename(tmp_path / "elsewhere")
    again = Lake.open(moved, SPECS)
    try:
        assert all_rows(again, "blocks") == rows
        assert again.catalog.rows("SELECT value FROM ducklake_metadata WHERE key = 'data_path'") == [
            (f"{moved}/data/",)
        ]
    finally:
        again.close()


def test_dropping_leaves_nothing_and_waits_for_nobody(lake: Lake, root: Path) -> None:
    """A lake in use cannot be dropped; a closed one goes with all its files."""
    fill(lake, 1)
    with pytest.raises(Conflict) as error:
        Lake.drop(root)
    assert error.value.code == "lake-busy"
    lake.close()
    Lake.drop(root)
    assert not list(root.iterdir())


def test_a_creation_that_broke_off_leaves_no_lake(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The catalog appears whole or not at all, and creating again works."""

    def cut(*_: object) -> None:
        raise OSError("power")

    with monkeypatch.context() as patch:
        patch.setattr("os.link", cut)
        with pytest.raises(OSError, match="power"):
            Lake.create(root, SPECS)
    with pytest.raises(NotFound):
        Lake.open(root, SPECS)
    Lake.create(root, SPECS).close()


def test_threads_share_a_lake(lake: Lake) -> None:
    """Plans, positions and reads of several threads beside commits see whole commits only."""

    def look(_: int) -> bool:
        newest = lake.snapshots()[-1]
        return len(all_rows(lake, "notes", snapshot=newest.id)) == 6 * newest.position

    with ThreadPoolExecutor(4) as pool:
        seen = pool.map(look, range(40))
        fill(lake, 10)
        assert all(seen)


def test_durability_is_asserted(lake: Lake) -> None:
    """The catalog is in WAL mode and every commit is synced."""
    assert lake.catalog.rows("PRAGMA journal_mode") == [("wal",)]
    assert lake.catalog.rows("PRAGMA synchronous") == [(2,)]


@pytest.mark.parametrize(
    "make",
    [
        lambda: Column("Name", "int32"),
        lambda: Column("a", "hugeint"),  # type: ignore[arg-type]  # what is refused
        lambda: Column("a", "int32", fixed_bytes=4),
        lambda: Column("a", "boolean", encoding="delta"),
        lambda: TableSpec("t", ()),
        lambda: TableSpec("t", (Column("a", "int32"), Column("a", "int32"))),
        lambda: TableSpec("t", (Column("a", "int32"),), sort=("b",)),
        lambda: TableSpec("t", (Column("a", "int64"),), partition="a"),
        lambda: TableSpec("t x", (Column("a", "int32"),)),
    ],
)
def test_wrong_descriptions_are_refused(make: object) -> None:
    """A table that could not be written or read everywhere cannot be described."""
    with pytest.raises(Invalid):
        make()  # type: ignore[operator]  # a lambda of the list above

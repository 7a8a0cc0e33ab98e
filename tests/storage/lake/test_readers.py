"""Other readers, without the extension: polars-ducklake on the lake, DuckDB on the files of a plan."""

from __future__ import annotations

from typing import Any

import duckdb
import pytest

from storage.lake import Lake
from tests.support.lake import START, all_rows, fill

pl = pytest.importorskip("polars")
polars_ducklake = pytest.importorskip("polars_ducklake")


def scan(lake: Lake, table: str, snapshot: int | None = None) -> Any:
    """The table as a lazy frame of polars."""
    return polars_ducklake.scan_ducklake(f"ducklake:sqlite:{lake.catalog.path}", table, snapshot_id=snapshot)


def ordered(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows in an order that does not depend on who returned them."""
    return sorted(rows, key=repr)


def polars_rows(frame: Any) -> list[dict[str, Any]]:
    """Rows of a lazy frame, ordered."""
    return ordered(frame.collect().to_dicts())


@pytest.mark.parametrize("table", ["blocks", "notes"])
def test_polars_reads_the_same_rows_at_every_snapshot(lake: Lake, table: str) -> None:
    """A pure Python reader of DuckLake returns our rows, values and types, now and back in time."""
    fill(lake, 4)
    lake.compact(table, min_files=2)
    for snapshot in lake.snapshots():
        expected = ordered(all_rows(lake, table, snapshot=snapshot.id))
        assert [_utc(row) for row in polars_rows(scan(lake, table, snapshot.id))] == expected


def _utc(row: dict[str, Any]) -> dict[str, Any]:
    return {k: v.astimezone(START.tzinfo) if hasattr(v, "astimezone") else v for k, v in row.items()}


def test_polars_filters_as_we_do(lake: Lake) -> None:
    """Filters that polars pushes into our statistics and partitions lose no row, in any table."""
    fill(lake, 12)
    wheres: dict[str, tuple[Any, dict[str, Any]]] = {
        "part": (pl.col("part") == 5, {"part": (5, 5)}),
        "text": (pl.col("disk") == "disk-a", {"disk": ("disk-a", "disk-a")}),
        "range": ((pl.col("seq") >= 4) & (pl.col("seq") <= 6), {"seq": (4, 6)}),
    }
    for condition, where in wheres.values():
        assert polars_rows(scan(lake, "blocks").filter(condition)) == ordered(all_rows(lake, "blocks", where=where))
    found = scan(lake, "notes").filter(pl.col("seq") == 3).select("id")
    assert polars_rows(found) == ordered(all_rows(lake, "notes", columns=["id"], where={"seq": (3, 3)}))


def test_duckdb_reads_the_planned_files(lake: Lake) -> None:
    """Plain read_parquet over a plan, without any extension, sees exactly the rows of that snapshot."""
    fill(lake, 6)
    lake.compact("blocks", min_files=2)
    for snapshot in lake.snapshots()[1:]:
        paths = [str(file.path) for file in lake.plan("blocks", where={"part": (3, 3)}, snapshot=snapshot.id)]
        sql = "SELECT count(*), sum(block), count(DISTINCT digest) FROM read_parquet(?, hive_partitioning=false)"
        rows = all_rows(lake, "blocks", where={"part": (3, 3)}, snapshot=snapshot.id)
        expected = (len(rows), sum(row["block"] for row in rows), len(rows))  # type: ignore[misc]  # integers
        with duckdb.connect() as connection:
            assert connection.execute(sql, [paths]).fetchall() == [expected]


def test_duckdb_sees_our_types(lake: Lake) -> None:
    """Times are with time zone, digests blobs, and 64 unsigned bits stay so."""
    fill(lake, 1)
    paths = [str(file.path) for file in lake.plan("notes")]
    with duckdb.connect() as connection:
        described = connection.execute("DESCRIBE SELECT * FROM read_parquet(?)", [paths]).fetchall()
        ids = connection.execute("SELECT id FROM read_parquet(?)", [paths]).fetchall()
    assert [row[1] for row in described] == [
        "UBIGINT", "INTEGER", "VARCHAR", "TIMESTAMP WITH TIME ZONE", "BOOLEAN", "BLOB"
    ]  # fmt: skip
    assert sorted(row[0] for row in ids) == sorted(row["id"] for row in all_rows(lake, "notes"))  # type: ignore[type-var]  # integers

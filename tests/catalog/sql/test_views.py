"""The views: each thing once, everything documented, on every DuckDB that is supported."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from catalog.projections.tables import BY_NAME, TABLES
from catalog.sql.runner import run_sql
from catalog.sql.views import SQL_TYPES, VIEWS, create_statements, parquet_source
from storage.lake import Lake
from tests.support import lake_readers

COUNT = "(SELECT count(*) FROM {})"
IN_OLDEST = """
import duckdb, json, sys
statements, query = json.load(sys.stdin)
connection = duckdb.connect()
for statement in statements:
    connection.execute(statement)
print(json.dumps([duckdb.__version__, connection.execute(query).fetchall()]))
"""


def ask(lake: Lake, query: str, **options: Any) -> list[dict[str, Any]]:
    """All rows of an answer."""
    rows: list[dict[str, Any]] = run_sql(lake, query, **options).read_all().to_pylist()
    return rows


def test_every_view_and_column_is_described(empty: Lake) -> None:
    """DuckDB itself can tell what each view and each of its columns means."""
    views = ask(empty, "SELECT view_name, comment FROM duckdb_views() WHERE NOT internal")
    assert {view["view_name"] for view in views} == {view.name for view in VIEWS}
    assert all(view["comment"] for view in views)
    columns = ask(empty, "SELECT table_name, column_name, comment FROM duckdb_columns() WHERE NOT internal")
    assert not [column for column in columns if not column["comment"]]
    for view in VIEWS:
        shown = [column["column_name"] for column in columns if column["table_name"] == view.name]
        assert shown == list(view.columns)


def test_a_view_has_the_same_columns_with_and_without_rows(empty: Lake, lake: Lake) -> None:
    """Queries written against an empty repository keep working: names and types do not change with the first row."""
    for view in VIEWS:
        query = f"DESCRIBE {view.name}"
        shown = [(row["column_name"], row["column_type"]) for row in ask(lake, query)]
        assert shown == [(row["column_name"], row["column_type"]) for row in ask(empty, query)]
        if view.name in BY_NAME and view.name != "chunk_refs":
            own = {column.name: SQL_TYPES[column.type] for column in BY_NAME[view.name].columns}
            assert own.items() <= dict(shown).items()


def test_each_thing_is_shown_once_as_it_was_last(lake: Lake) -> None:
    """Versions collapse: machines, disks, snapshots and restore points have a row each."""
    (machine,) = ask(lake, "SELECT * FROM machines")
    assert machine["name"] == 'it\'s "web"'
    assert ask(lake, "SELECT label FROM disks ORDER BY label") == [{"label": "vda"}, {"label": "vdb"}]
    (snapshot,) = ask(lake, "SELECT state, consistency, fallback_cause FROM snapshots")
    assert snapshot == {"state": "released", "consistency": "crash", "fallback_cause": "no-agent"}
    points = ask(lake, "SELECT verified_level, verified_result FROM restore_points ORDER BY position")
    assert points == [
        {"verified_level": "content", "verified_result": "damaged"},
        {"verified_level": None, "verified_result": None},
    ]


def test_the_log_is_readable_as_json(lake: Lake) -> None:
    """Bodies are JSON with hex digits for bytes, and never carry a batch's rows."""
    rows = ask(lake, "SELECT topic, rows, body, body->>'$.disks[0].merkle_root' AS root FROM events")
    batches = [row for row in rows if row["rows"] is not None]
    assert sum(row["rows"] for row in batches) == 40 + 9 + 1
    assert all("batch" not in json.loads(row["body"]) for row in batches)
    roots = [row["root"] for row in rows if row["topic"].startswith("RestorePointCommitted")]
    assert [len(bytes.fromhex(root)) for root in roots] == [32, 32]


def test_an_older_position_answers_as_it_did(lake: Lake) -> None:
    """As of a log position, what came later is not there, in any view."""
    first = lake.snapshots()[1].position
    query = "SELECT (SELECT count(*) FROM restore_points) AS points, (SELECT count(*) FROM chunks) AS chunks, "
    query += "(SELECT count(verified_at) FROM restore_points) AS verified, (SELECT count(*) FROM disks) AS disks"
    assert ask(lake, query, as_of=first) == [{"points": 1, "chunks": 40, "verified": 0, "disks": 1}]
    assert ask(lake, query) == [{"points": 2, "chunks": 49, "verified": 1, "disks": 2}]


@pytest.mark.skipif(lake_readers.missing() is not None, reason=lake_readers.missing() or "")
def test_the_oldest_duckdb_reads_the_views_too(lake: Lake) -> None:
    """The views' SQL and the Parquet files work on DuckDB 1.5.5."""
    sources = {
        table.name: parquet_source(table, [str(file.path) for file in lake.plan(table.name)]) for table in TABLES
    }
    query = f"SELECT {', '.join(COUNT.format(view.name) for view in VIEWS)}"
    done = subprocess.run(
        [lake_readers.PYTHON, "-c", IN_OLDEST],
        input=json.dumps([create_statements(sources), query]),
        capture_output=True,
        text=True,
        check=True,
    )
    version, rows = json.loads(done.stdout)
    assert version == "1.5.5"
    assert rows == [list(ask(lake, query)[0].values())]

"""The runner: queries stream, and nothing but a query gets through."""

from __future__ import annotations

import hashlib
from contextlib import closing
from pathlib import Path

import duckdb
import pytest

from catalog.log import EventLog
from catalog.projections import TABLES, Projector
from catalog.sql.runner import run_sql
from storage.errors import Corrupt, HoldfastError, Invalid, Limit, NotFound
from storage.lake import Lake
from tests.support.recorded import Author


def fingerprint(root: Path) -> dict[str, str]:
    """What every file below holds."""
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in root.rglob("*") if path.is_file()}


QUERIES = (
    "SELECT 1",
    "  explain SELECT * FROM chunks",
    "EXPLAIN ANALYZE SELECT count(*) FROM chunks",
    "FROM machines",
    "VALUES (1), (2)",
    "SHOW TABLES",
    "DESCRIBE chunks",
    "SUMMARIZE chunks",
    "WITH m AS MATERIALIZED (SELECT * FROM machines) SELECT * FROM m",
    "WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 3) SELECT * FROM n",
    "SELECT 1 UNION ALL SELECT 2 ORDER BY 1",
    "SELECT unnest([1, 2]), x FROM range(2) AS t(x), unnest([1])",
    "PIVOT (SELECT seq, block FROM chunks) ON seq IN (1, 2) USING count(*)",
    "SELECT 'COPY_QUERY_NODE' AS type, ';' AS more",
)


@pytest.mark.parametrize("query", QUERIES)
def test_questions_are_answered(lake: Lake, query: str) -> None:
    """Whatever only reads may be asked, in any of DuckDB's ways to ask."""
    assert run_sql(lake, query).read_all().num_rows > 0


STATEMENTS = (
    "COPY (SELECT 1) TO '{file}' (USE_TMP_FILE false)",
    "WITH x AS (COPY (SELECT 1 AS i) TO '{file}' (USE_TMP_FILE false)) SELECT * FROM x",
    "EXPLAIN ANALYZE WITH x AS (COPY (SELECT 1 AS i) TO '{file}' (USE_TMP_FILE false)) SELECT * FROM x",
    "EXPLAIN ANALYZE COPY (SELECT 1) TO '{file}' (USE_TMP_FILE false)",
    "WITH x AS (INSERT INTO machines VALUES (1) RETURNING *) SELECT * FROM x",
    "COPY (SELECT 1) TO '{folder}/new.parquet'",
    "CREATE TABLE t (i INTEGER)",
    "DROP VIEW chunks",
    "INSERT INTO machines VALUES (1)",
    "ATTACH '{folder}/other.db' AS other",
    "INSTALL httpfs",
    "LOAD httpfs",
    "SET threads = 8",
    "PRAGMA memory_limit = '8GB'",
    "CALL pragma_version()",
    "EXPORT DATABASE '{folder}/out'",
    "SELECT 1; SELECT 2",
    "SELECT 1; COPY (SELECT 1) TO '{file}' (USE_TMP_FILE false)",
    "SELECT * FROM read_text('/etc/passwd')",
    "SELECT * FROM '/etc/passwd'",
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM read_parquet('{file}')",
    "SELECT * FROM glob('/*')",
    "SELECT * FROM query('SELECT 1')",
    "SELECT * FROM json_execute_serialized_sql('{{}}')",
    "SELECT * FROM duckdb_settings()",
    "SELECT * FROM duckdb_secrets()",
    "SELECT getenv('HOME')",
    "SELECT * FROM lake",
    "",
    "   ",
    "-- nothing",
    "explain",
    "SELEC 1",
    "SELECT 1 +",
    "SELECT * FROM nothing",
    "SELECT nothing FROM chunks",
    "SELECT error('told so')",
    "SELECT CAST('x' AS INTEGER)",
)


@pytest.mark.parametrize("statement", STATEMENTS)
def test_what_is_no_question_is_refused_and_leaves_no_trace(lake: Lake, tmp_path: Path, statement: str) -> None:
    """Writing, attaching, configuring, reading elsewhere: Invalid with a reason, and no file has changed."""
    file = lake.plan("chunks")[0].path
    before = fingerprint(tmp_path)
    with pytest.raises(Invalid) as caught:
        run_sql(lake, statement.format(file=file, folder=tmp_path)).read_all()
    assert caught.value.code.startswith("sql-")
    assert fingerprint(tmp_path) == before


AROUND = "SELECT * FROM json_execute_serialized_sql('{}')"


def test_serialized_statements_are_not_a_way_around(lake: Lake, tmp_path: Path) -> None:
    """A writing statement stays out also when it comes as DuckDB's own JSON."""
    file = lake.plan("chunks")[0].path
    writing = STATEMENTS[1].format(file=file)
    tree = duckdb.connect().execute("SELECT json_serialize_sql(?::VARCHAR)", [writing]).fetchall()[0][0]
    quoted = tree.replace("'", "''")
    before = fingerprint(tmp_path)
    with pytest.raises(Invalid):
        run_sql(lake, AROUND.format(quoted)).read_all()
    assert fingerprint(tmp_path) == before


def test_an_answer_comes_in_pieces(empty: Lake) -> None:
    """An answer larger than the memory it may use still comes, a batch at a time."""
    reader = run_sql(empty, "SELECT i, repeat('x', 1000) AS text FROM range(200000) AS t(i)", memory_limit="32MB")
    sizes = [batch.num_rows for batch in reader]
    assert sum(sizes) == 200_000
    assert max(sizes) <= 8192


def test_a_failure_behind_the_first_rows_is_ours_too(empty: Lake) -> None:
    """An error in the middle of an answer is an Invalid, not a short answer."""
    query = "SELECT CASE WHEN i = 900000 THEN error('boom') ELSE i END AS i FROM range(1000000) AS t(i)"
    with pytest.raises(Invalid, match="boom"):
        for _ in run_sql(empty, query):
            pass


@pytest.mark.parametrize(
    "query",
    [
        "SELECT count(*) FROM (SELECT DISTINCT i FROM range(50000000) AS t(i))",
        "SELECT list(i) AS l FROM range(100000000) AS t(i)",
    ],
)
def test_too_much_memory_is_a_limit(empty: Lake, query: str) -> None:
    """A query that would need more memory than allowed ends with Limit and spills nothing to disk."""
    with pytest.raises(Limit) as caught:
        run_sql(empty, query, memory_limit="32MB").read_all()
    assert caught.value.code == "sql-memory"


def test_a_very_long_query_is_not_looked_at(empty: Lake) -> None:
    """The length of a query is bounded before it is parsed."""
    with pytest.raises(Limit):
        run_sql(empty, "SELECT " + "1 + " * 50_000 + "1")


def test_deep_queries_are_refused_without_harm(empty: Lake) -> None:
    """Nesting beyond what the parser accepts is an error of ours, not of the process."""
    with pytest.raises(HoldfastError):
        run_sql(empty, "SELECT " + "(" * 2000 + "1" + ")" * 2000).read_all()


def test_a_position_that_the_index_has_not_reached_is_not_found(lake: Lake) -> None:
    """As of a position that is not there yet is an error, not an answer from now."""
    with pytest.raises(NotFound):
        run_sql(lake, "SELECT 1", as_of=12345)


def test_a_file_that_went_missing_is_corruption(lake: Lake) -> None:
    """Rows that the index cites and that are gone are never left out silently."""
    lake.plan("chunks")[0].path.unlink()
    with pytest.raises(Corrupt) as caught:
        run_sql(lake, "SELECT count(digest) FROM chunks").read_all()
    assert "rebuild" in caught.value.hint


def test_names_with_quotes_are_only_names(tmp_path: Path) -> None:
    """A home whose path has quotes and brackets in it works."""
    root = tmp_path / 'it\'s [a] "home"'
    root.mkdir()
    with EventLog.create(root / "e.sqlite") as log, closing(Lake.create(root / "i", TABLES)) as lake:
        Author(log).machine("web")
        Projector(log, lake).catch_up()
        assert run_sql(lake, "SELECT count(*) AS n FROM machines").read_all().to_pylist() == [{"n": 1}]

"""What a statement may be: one query that only reads. Imports `storage.errors` of ours.

Judged by DuckDB's own parse tree, and by what is allowed: external access limited to the planned files still lets
`COPY ... TO` write over exactly those files, inside a WITH as well as alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import duckdb

from storage.errors import Invalid, Limit

MAX_QUERY_CHARS = 100_000

QUERY_NODES = frozenset({"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"})
TABLE_FUNCTIONS = frozenset(
    {
        "duckdb_columns",
        "duckdb_functions",
        "duckdb_keywords",
        "duckdb_types",
        "duckdb_views",
        "generate_series",
        "json_each",
        "json_tree",
        "pragma_version",
        "range",
        "repeat",
        "unnest",
    }
)
_EXPLAIN = re.compile(r"\s*explain\s+(analyze\s+)?", re.IGNORECASE)


def check(connection: duckdb.DuckDBPyConnection, query: str) -> None:
    """Raise Invalid unless `query` is one statement that only reads; Limit if it is too long to look at."""
    if len(query) > MAX_QUERY_CHARS:
        raise Limit(f"a query of {len(query)} characters is too long", code="sql-length")
    inner = _EXPLAIN.sub("", query, count=1) if _EXPLAIN.match(query) else query
    parsed = connection.execute("SELECT json_serialize_sql(?::VARCHAR)", [inner]).fetchall()
    tree = json.loads(parsed[0][0])
    if tree["error"]:
        code = "sql-syntax" if tree["error_type"] == "parser" else "sql-not-a-query"
        raise Invalid("the statement is not a query", code=code, why=str(tree["error_message"]), hint=HINT)
    if len(tree["statements"]) != 1:
        raise Invalid(f"{len(tree['statements'])} statements, one is expected", code="sql-statements", hint=HINT)
    for node in _nodes(tree):
        _check_node(node)


HINT = "ask with SELECT, WITH, VALUES, DESCRIBE, SUMMARIZE, SHOW TABLES or EXPLAIN"


def _check_node(node: dict[str, Any]) -> None:
    kind = node.get("type")
    if isinstance(kind, str) and kind.endswith("_NODE") and kind not in QUERY_NODES:
        raise Invalid("the statement does more than read", code="sql-not-a-query", why=kind, hint=HINT)
    if kind == "TABLE_FUNCTION":
        name = str(node.get("function", {}).get("function_name", "")).lower()
        if name not in TABLE_FUNCTIONS:
            raise Invalid(
                f"the table function {name} is not available",
                code="sql-table-function",
                hint="query the views; SHOW TABLES lists them",
            )


def _nodes(value: Any) -> Iterator[dict[str, Any]]:
    """Every object of the tree. A loop, not a recursion: the depth is the caller's to choose."""
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            yield item
            pending.extend(item.values())
        elif isinstance(item, list):
            pending.extend(item)

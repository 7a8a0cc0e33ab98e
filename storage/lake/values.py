"""Column values as the catalog's text, and back into something that orders as the values do; pure.

DuckLake keeps smallest and largest values as text: integers in decimal, booleans as 0 and 1, times in UTC as
`2026-01-02 03:04:05.000006+00`. With six digits always written, the text of times orders as the times do.
"""

from __future__ import annotations

from datetime import UTC, datetime

from storage.errors import Invalid
from storage.lake.tables import Type, Value

MAX_TEXT = 512
_INTEGERS = frozenset({"boolean", "int32", "int64", "uint32", "uint64"})
_SQLITE_MIN, _SQLITE_MAX = -(2**63), 2**63 - 1


def time_text(at: datetime) -> str:
    """Format an aware time as the catalog does."""
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f+00")


def parse_time(text: str) -> datetime:
    """Parse a time of the catalog, also one with fewer digits, as other writers leave it."""
    return datetime.fromisoformat(text)


def stat_text(kind: Type, value: Value) -> str | None:
    """Return the text of a bound; None when it should not be written (too long, or with a NUL inside)."""
    if isinstance(value, datetime):
        return time_text(value)
    if kind in _INTEGERS:
        return str(int(value))
    text = str(value)
    return None if len(text) > MAX_TEXT or "\0" in text else text


def order_key(kind: Type, text: str) -> int | bytes:
    """Return what orders as the value behind a bound's text orders."""
    return int(text) if kind in _INTEGERS else text.encode()


def sql_typed(kind: Type, expression: str) -> str:
    """Return SQL that makes a bound's text comparable with `sql_value`."""
    return f"CAST({expression} AS INTEGER)" if kind in _INTEGERS else expression


def sql_value(kind: Type, value: Value) -> int | str:
    """Return a bound parameter for comparison; integers past SQLite's range are clamped as its CAST clamps them."""
    if kind == "timestamptz" and isinstance(value, datetime) and value.tzinfo is not None:
        return time_text(value)
    if kind in _INTEGERS and isinstance(value, int):
        return min(max(int(value), _SQLITE_MIN), _SQLITE_MAX)
    if kind == "varchar" and isinstance(value, str):
        return value
    raise Invalid(f"{value!r} is not a value of a {kind} column", code="bad-filter")

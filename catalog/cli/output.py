"""How answers look: aligned tables on a terminal, plain tab-separated lines in a pipe, JSON when asked.

Imports rich and msgspec. Nothing is shortened in a pipe; JSON keys are a contract: they are added, never renamed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from storage.errors import EXIT_CODES

Row = Mapping[str, Any]


def print_json(value: object) -> None:
    """Print one JSON document."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value, enc_hook=plain), indent=2).decode() + "\n")


def print_rows(rows: Sequence[Row], columns: Sequence[str], *, as_json: bool) -> None:
    """Print records: all their fields as JSON, or the named columns as a table."""
    if as_json:
        print_json(list(rows))
    elif sys.stdout.isatty():
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in columns:
            table.add_column(column.replace("_", " "), justify="right" if column.endswith("_bytes") else "left")
        for row in rows:
            table.add_row(*(escape(clean(_shown(column, row.get(column)))) for column in columns))
        wide = Console(width=10_000)
        Console(width=wide.measure(table).maximum).print(table)
    else:
        sys.stdout.write("\t".join(columns) + "\n")
        for row in rows:
            sys.stdout.write("\t".join(clean(_text(row.get(column))) for column in columns) + "\n")


def print_record(record: Row, *, as_json: bool) -> None:
    """Print one record, a field a line."""
    if as_json:
        print_json(record)
        return
    width = max((len(name) for name in record), default=0)
    for name, value in record.items():
        sys.stdout.write(f"{name.replace('_', ' '):<{width}}  {clean(_shown(name, value))}\n")


def say(text: str) -> None:
    """Tell a person something."""
    Console(stderr=True, highlight=False, soft_wrap=True).print(escape(clean(text)))


def print_error(error: Exception, *, as_json: bool) -> int:
    """Print a failure (what, why, what next, code) and return its exit code."""
    kind, code = getattr(error, "kind", "unavailable"), getattr(error, "code", "unknown")
    what, why, hint = getattr(error, "what", str(error)), getattr(error, "why", ""), getattr(error, "hint", "")
    exit_code = EXIT_CODES[kind]
    if as_json:
        problem = {"kind": kind, "code": code, "title": what, "detail": why, "hint": hint, "exit": exit_code}
        sys.stderr.write(msgspec.json.encode(problem).decode() + "\n")
        return exit_code
    lines = [f"error: {what}", *(f"  {part}" for part in (why, hint) if part), f"  [{code}, exit {exit_code}]"]
    sys.stderr.write("\n".join(clean(line) for line in lines) + "\n")
    return exit_code


def clean(text: str) -> str:
    """Take control characters out of names that came from elsewhere: they could steer a terminal."""
    return "".join(letter if letter.isprintable() else "�" for letter in text)


def human_bytes(count: int) -> str:
    """A size as a person reads it, in binary units."""
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if size < 1024 or unit == "TiB":
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    raise AssertionError("unreachable")


def _shown(column: str, value: object) -> str:
    return human_bytes(value) if column.endswith("_bytes") and isinstance(value, int) else _text(value)


def _text(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict | list | tuple):
        return msgspec.json.encode(value, enc_hook=plain).decode()
    if hasattr(value, "isoformat"):
        return str(value.isoformat(timespec="seconds")).replace("+00:00", "Z")
    return str(value)


def plain(value: object) -> object:
    """Give the JSON form of what JSON does not have: bytes as hex, identifiers and paths as text."""
    converters: dict[type, Callable[[Any], object]] = {bytes: bytes.hex, UUID: str}
    for kind, convert in converters.items():
        if isinstance(value, kind):
            return convert(value)
    if hasattr(value, "__fspath__"):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")

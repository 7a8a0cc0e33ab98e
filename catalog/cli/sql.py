"""`holdfast sql`: any question, over the documented views.

Imports `catalog.sql`. The statement runs in a sealed process, where the system has one; the answer streams, so that
a table of a hundred million rows needs no more memory than one of ten.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any

import msgspec
import typer

from catalog.answers import AnswerFormat
from catalog.cli.app import JsonOption, app, home_of
from catalog.cli.asof import position_of
from catalog.cli.output import print_rows, say
from catalog.runtime import Catalog
from catalog.sql.door.answer import SqlQuestion
from catalog.sql.door.door import DoorLimits, SqlDoor
from catalog.sql.door.layers import UNSEALED
from catalog.sql.entrance import entrance
from storage.errors import Invalid, Unavailable

OWNER = DoorLimits(workers=1, seconds=86_400.0, memory_bytes=1 << 44, row_limit=1 << 60, byte_limit=1 << 60)
"""The owner of the home may take as long and as much as there is."""
UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "KI": 1 << 10, "MI": 1 << 20, "GI": 1 << 30}


class SqlFormat(StrEnum):
    """How `holdfast sql` answers."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    ARROW = "arrow"
    PARQUET = "parquet"


@dataclass(frozen=True, slots=True)
class Asked:
    """A running answer: its columns, and its bytes as they come."""

    columns: Sequence[str]
    pieces: Iterable[bytes]


@app.command()
def sql(
    context: typer.Context,
    query: Annotated[
        str,
        typer.Argument(
            help="One SELECT over: machines, disks, snapshots, extents, chunks, chunk_refs, disk_points, "
            "restore_points, deletions, verifications, coverage, events."
        ),
    ],
    answer: Annotated[SqlFormat, typer.Option("--format", help="How to answer.")] = SqlFormat.TABLE,
    memory: Annotated[str, typer.Option(help="How much memory the query may use.")] = "1GB",
    as_of: Annotated[
        str | None, typer.Option(metavar="POSITION|TIME", help="Ask as of an earlier log position, or time.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Ask the index in SQL."""
    if as_json:
        answer = SqlFormat.JSON
    if answer in (SqlFormat.ARROW, SqlFormat.PARQUET) and sys.stdout.isatty():
        raise Invalid(f"{answer} is binary", code="binary-terminal", hint="send it to a file: ... > answer")
    question = SqlQuestion(query, FORMATS[answer], OWNER.row_limit, OWNER.byte_limit, OWNER.seconds, _bytes(memory))
    with ExitStack() as stack:
        door = _door(stack)  # Its process loads what it needs while this one brings the index up to date.
        catalog = stack.enter_context(Catalog.opened(home_of(context)))
        catalog.catch_up()
        position = None if as_of is None else position_of(catalog.lake, as_of)
        asked = _sealed(door, question, catalog, position, stack) if door else None
        WRITERS[answer](asked or _unsealed(question, catalog, position))


def _door(stack: ExitStack) -> SqlDoor | None:
    try:
        return stack.enter_context(SqlDoor(OWNER, spares=0))
    except Unavailable as error:
        _notice(error)
        return None


def _sealed(
    door: SqlDoor, question: SqlQuestion, catalog: Catalog, as_of: int | None, stack: ExitStack
) -> Asked | None:
    try:
        answer = stack.enter_context(door.ask(question, entrance(catalog.lake, machine_ids=None, as_of=as_of)))
    except Unavailable as error:
        _notice(error)
        return None
    return Asked([column.name for column in answer.columns], answer)


def _notice(error: Unavailable) -> None:
    """Say that the statement runs in this process. Raises what is no lack of a seal."""
    if error.code != UNSEALED:
        raise error
    say(f"note: the statement runs unsealed, in this process: {error.why}")


def _unsealed(question: SqlQuestion, catalog: Catalog, as_of: int | None) -> Asked:
    from catalog.answers import encode  # noqa: PLC0415 - the sealed way needs neither Arrow nor DuckDB here
    from catalog.sql.runner import run_sql  # noqa: PLC0415 - the same

    memory = f"{question.memory_bytes // 1000}KB"
    reader = run_sql(catalog.lake, question.query, memory_limit=memory, as_of=as_of)
    return Asked(reader.schema.names, encode(question.format, reader.schema, reader))


def _bytes(text: str) -> int:
    """A size such as 512MB. Raises Invalid."""
    found = re.fullmatch(r"(\d{1,12}) *([KMG]I?|T)?B?", text.strip().upper())
    if not found:
        raise Invalid(f"{text!r} is no size", code="memory-size", hint="such as 512MB or 2GB")
    return int(found[1]) * UNITS[found[2] or ""]


def _rows(asked: Asked) -> Iterator[bytes]:
    """The rows of an answer in NDJSON, each as its JSON; without the last line, which counts them."""
    rest, held = b"", None
    for piece in asked.pieces:
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            if held is not None:
                yield held
            held = line


def _table(asked: Asked) -> None:
    rows: list[dict[str, Any]] = [msgspec.json.decode(row) for row in _rows(asked)]
    print_rows(rows, asked.columns, as_json=False)


def _json(asked: Asked) -> None:
    sys.stdout.write("[")
    first = True
    for row in _rows(asked):
        sys.stdout.write(("\n  " if first else ",\n  ") + row.decode())
        first = False
    sys.stdout.write("]\n" if first else "\n]\n")


def _as_it_comes(asked: Asked) -> None:
    sys.stdout.flush()
    for piece in asked.pieces:
        sys.stdout.buffer.write(piece)


FORMATS: dict[SqlFormat, AnswerFormat] = {
    SqlFormat.TABLE: AnswerFormat.NDJSON,
    SqlFormat.JSON: AnswerFormat.NDJSON,
    SqlFormat.CSV: AnswerFormat.CSV,
    SqlFormat.ARROW: AnswerFormat.ARROW,
    SqlFormat.PARQUET: AnswerFormat.PARQUET,
}
WRITERS: dict[SqlFormat, Callable[[Asked], None]] = {
    SqlFormat.TABLE: _table,
    SqlFormat.JSON: _json,
    SqlFormat.CSV: _as_it_comes,
    SqlFormat.ARROW: _as_it_comes,
    SqlFormat.PARQUET: _as_it_comes,
}

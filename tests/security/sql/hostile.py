"""Hostile statements from `hostile/*.sql`, and running them. Each line: what must become of it, and the statement.

refused: an error. harmless: an answer or an error, without an effect. limited: an error, at a limit or before.
None of them may have an effect, whatever the class says.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from catalog.answers import AnswerFormat
from catalog.sql.door.answer import SqlQuestion
from catalog.sql.door.door import SqlDoor
from catalog.sql.entrance import Entrance
from storage.errors import HoldfastError
from tests.security.sql.canaries import Canaries

MIB = 1 << 20
BOMBS = ("cpu_bombs", "memory_bombs")
GENERATED = {
    "deep": "harmless SELECT " + "(" * 5000 + "1" + ")" * 5000,
    "deep case": "refused SELECT " + "CASE WHEN true THEN " * 3000 + "1" + " END" * 3000,
    "deep function": "refused SELECT " + "abs(" * 3000 + "1" + ")" * 3000,
    "deep list": "refused SELECT " + "[" * 3000 + "]" * 3000,
    "deep subquery": "refused SELECT * FROM " + "(SELECT * FROM " * 2000 + "machines" + ") AS t" * 2000,
    "nul": "harmless SELECT 1;\0COPY (SELECT 1) TO '$FOLDER/nul.csv'",
    "nul in a name": "refused SELECT * FROM read_text('$SECRET\0.csv')",
    "not text": "refused SELECT '\ud800'",
    "long name": "refused SELECT * FROM " + "x" * 90_000,
    "wide": "harmless SELECT " + ",".join(f"{number} AS c{number}" for number in range(5000)),
    "many unions": "harmless " + " UNION ALL ".join(["SELECT 1"] * 1000),
    "long in": "harmless SELECT 1 WHERE 1 IN (" + ",".join(map(str, range(10_000))) + ")",
}


@dataclass(frozen=True, slots=True)
class Hostile:
    """One statement; `text` has placeholders for what it is after."""

    category: str
    expected: str
    text: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of it."""

    statement: Hostile
    answer: bytes
    error: HoldfastError | None


def hostile() -> list[Hostile]:
    """All of them."""
    found = []
    for path in sorted((Path(__file__).parent / "hostile").glob("*.sql")):
        lines = [line for line in path.read_text().splitlines() if not line.startswith("--")]
        found += [_parsed(path.stem, line) for line in lines]
    return found + [_parsed("generated", line) for line in GENERATED.values()]


def _parsed(category: str, line: str) -> Hostile:
    expected, _, text = line.partition(" ")
    assert expected in ("refused", "harmless", "limited"), line
    return Hostile(category, expected, text)


def run_one(
    door: SqlDoor, entrance: Entrance, canaries: Canaries, statement: Hostile, seconds: float = 10.0
) -> Outcome:
    """Ask it, read all of the answer. Anything but an answer or an error of ours is a failure of the door."""
    question = SqlQuestion(
        canaries.placed(statement.text), AnswerFormat.NDJSON, 1000, 4 * MIB, seconds=seconds, memory_bytes=128 * MIB
    )
    read: list[bytes] = []
    try:
        with door.ask(question, entrance) as answer:
            read.extend(answer)
    except HoldfastError as error:
        return Outcome(statement, b"".join(read), error)
    return Outcome(statement, b"".join(read), None)


def run_all(
    door: SqlDoor, entrance: Entrance, canaries: Canaries, statements: Sequence[Hostile], seconds: float = 10.0
) -> list[Outcome]:
    """Ask them all, two at a time."""
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(lambda each: run_one(door, entrance, canaries, each, seconds), statements))


def leaks(canaries: Canaries, outcomes: Iterable[Outcome], words: Sequence[str]) -> list[str]:
    """Statements whose answer or error has a word that is not in the statement itself."""
    found = []
    for outcome in outcomes:
        text = canaries.placed(outcome.statement.text)
        said = outcome.answer.decode(errors="replace") + (repr_of(outcome.error) if outcome.error else "")
        if any(word in said and word not in text for word in words):
            found.append(outcome.statement.text)
    return found


def unexpected(outcomes: Iterable[Outcome]) -> list[str]:
    """Statements that were answered and should have been refused."""
    return [each.statement.text for each in outcomes if each.statement.expected != "harmless" and each.error is None]


def repr_of(error: HoldfastError) -> str:
    """All that a caller is told."""
    return " ".join((error.code, error.what, error.why, error.hint))

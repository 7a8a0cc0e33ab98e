"""What a statement's failure says when DuckDB tells of the threads that it interrupted instead."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pytest

from catalog.sql.door.engine import LOOKS, Running
from catalog.sql.door.wire import Ask
from storage.errors import Invalid

ASK = Ask("SELECT 1", "ndjson", 10, 1.0, 1 << 20)
SCHEMA = pa.schema([("one", pa.int64())])


class Relation:
    """A relation whose readings fail one after the other, each in the middle of its rows."""

    def __init__(self, *failures: str) -> None:
        self.failures = list(failures)

    def to_arrow_reader(self, _rows: int) -> pa.RecordBatchReader:
        failure = self.failures.pop(0)

        def batches() -> Iterator[pa.RecordBatch]:
            yield pa.record_batch([[1]], schema=SCHEMA)
            raise OSError(failure)

        return pa.RecordBatchReader.from_batches(SCHEMA, batches())


def failure_of(relation: Relation) -> str:
    """What the answer's reader is told."""
    with pytest.raises(Invalid) as caught:
        list(Running(relation, ASK).pieces())  # type: ignore[arg-type]
    return caught.value.why


def test_the_cause_is_found_behind_an_interrupted_thread() -> None:
    """The statement's own error is what is told, not the end of the threads beside it."""
    relation = Relation("INTERRUPT Error: Interrupted!", "INTERRUPT Error: Interrupted!", "Invalid Input Error: boom")
    assert failure_of(relation) == "Invalid Input Error: boom"


def test_an_error_with_its_cause_is_told_at_once() -> None:
    """A statement that says why it failed does not run again."""
    relation = Relation("Invalid Input Error: boom", "never read")
    assert failure_of(relation) == "Invalid Input Error: boom"
    assert relation.failures == ["never read"]


def test_the_search_for_a_cause_ends() -> None:
    """What only ever interrupts is still an error, after a bounded number of looks."""
    relation = Relation(*["INTERRUPT Error: Interrupted!"] * (LOOKS + 1), "never read")
    assert "INTERRUPT" in failure_of(relation)
    assert relation.failures == ["never read"]

"""The log as stored, for proofs: leaves and rows, and what is missing of them."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from catalog.log import EventLog
from catalog.log.chain import GENESIS, leaf_of, next_head
from catalog.log.evidence import LEAVES_AT_ONCE
from storage.errors import Corrupt, NotFound
from tests.support.log_events import OTHER, STREAM, notes

EVENTS = LEAVES_AT_ONCE + 10


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log with more events than are read at once, the last ones in another stream."""
    path = tmp_path_factory.mktemp("log") / "events.sqlite"
    with closing(EventLog.create(path)) as log:
        log.save(*notes(EVENTS - 5))
        log.save(*notes(5, stream=OTHER))
    return path


def test_leaves_and_rows(path: Path) -> None:
    """Leaves are those of the stored rows, from any position to any other, and lead to the chain's head."""
    with closing(EventLog.open(path)) as log:
        leaves = list(log.evidence.leaves(0, EVENTS))
        rows = [log.evidence.stored(at) for at in (1, 2, EVENTS)]
        assert [leaf_of(*row[1:]) for row in rows] == [leaves[0], leaves[1], leaves[-1]]
        assert list(log.evidence.leaves(100, 103)) == leaves[100:103]
        assert list(log.evidence.leaves(EVENTS - 2, EVENTS + 50)) == leaves[-2:]
        assert [row.leaf for row in log.evidence.rows(4, 9)] == leaves[4:9]
        head = GENESIS
        for leaf in leaves:
            head = next_head(head, leaf)
        assert head == log.chain_head()


def test_streams(path: Path) -> None:
    """A stream's rows come with their positions, in order and whole."""
    with closing(EventLog.open(path)) as log:
        rows = list(log.evidence.stream(OTHER))
        assert [(row.position, row.originator_version) for row in rows] == [(EVENTS - 5 + n, n) for n in range(1, 6)]
        assert sum(1 for _ in log.evidence.stream(STREAM)) == EVENTS - 5
        for position in (0, -1, EVENTS + 1):
            with pytest.raises(NotFound):
                log.evidence.stored(position)


@pytest.mark.parametrize(
    "change",
    ["DELETE FROM chain WHERE notification_id = 4", "UPDATE chain SET leaf = x'00' WHERE notification_id = 4"],
)
def test_a_damaged_chain(tmp_path: Path, change: str) -> None:
    """A leaf that is missing or none is Corrupt, and named."""
    with closing(EventLog.create(tmp_path / "events.sqlite")) as log:
        log.save(*notes(10))
        with closing(sqlite3.connect(tmp_path / "events.sqlite")) as database:
            database.execute(change)
            database.commit()
        with pytest.raises(Corrupt, match="position 4"):
            list(log.evidence.leaves(0, 10))

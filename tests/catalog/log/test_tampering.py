"""Every way to change a recorded history shows."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from catalog.domain.events import Event
from catalog.log import EventLog
from catalog.log.chain import GENESIS, leaf_of, next_head
from storage.errors import Corrupt, HoldfastError, NotFound
from tests.support.log_events import OTHER, STREAM, chunk_events, chunk_rows, note, notes

EVENTS = 6
Database = sqlite3.Connection


@contextmanager
def _behind(path: Path) -> Iterator[Database]:
    """A connection past the log's back; not durable, for speed."""
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("PRAGMA synchronous=OFF")
    try:
        yield database
    finally:
        database.close()


@pytest.fixture
def log(path: Path) -> Iterator[EventLog]:
    """A log of six small events."""
    with EventLog.create(path) as created:
        created.save(*notes(EVENTS))
        yield created


def test_an_untouched_log_verifies(log: EventLog) -> None:
    """The chain of a log that nobody touched holds from any position to its end."""
    for after in range(EVENTS + 1):
        report = log.verify_chain(after)
        assert (report.ok, report.events, report.position) == (True, EVENTS - after, EVENTS)
        assert report.head == log.chain_head()
    with pytest.raises(NotFound):
        log.verify_chain(EVENTS + 1)


def test_the_head_follows_from_the_rows_alone(log: EventLog, path: Path) -> None:
    """Anybody can recompute the head with SHA-256 from what the format says."""
    head = GENESIS
    with _behind(path) as database:
        for version, topic, state in database.execute("SELECT originator_version, topic, state FROM stored_events"):
            head = next_head(head, leaf_of(STREAM, version, topic, state))
    assert log.chain_head() == head


def test_every_flipped_bit_of_a_state_is_found(log: EventLog, path: Path) -> None:
    """No single-bit change of a stored event survives verification, a poll or a stream."""
    with _behind(path) as database:
        (state,) = database.execute("SELECT state FROM stored_events WHERE id = 3").fetchone()
        for bit in range(len(state) * 8):
            flipped = bytearray(state)
            flipped[bit // 8] ^= 1 << bit % 8
            database.execute("UPDATE stored_events SET state = ? WHERE id = 3", (bytes(flipped),))
            report = log.verify_chain()
            assert (report.bad_position, report.events, report.position) == (3, 2, 2)
            with pytest.raises(Corrupt):
                log.poll(2)
            with pytest.raises(Corrupt):
                list(log.stream(STREAM))
            assert log.poll(3)[0].event == notes(EVENTS)[3]


EDITS = {
    "state": "UPDATE stored_events SET state = (SELECT state FROM stored_events WHERE id = 3) WHERE id = 4",
    "state-type": "UPDATE stored_events SET state = 'text' WHERE id = 4",
    "topic": "UPDATE stored_events SET topic = 'RunClosed/1' WHERE id = 4",
    "topic-type": "UPDATE stored_events SET topic = x'ff00' WHERE id = 4",
    "topic-utf8": "UPDATE stored_events SET topic = CAST(x'ff00' AS TEXT) WHERE id = 4",
    "version": "UPDATE stored_events SET originator_version = 44 WHERE id = 4",
    "version-type": "UPDATE stored_events SET originator_version = 'four' WHERE id = 4",
    "version-zero": "UPDATE stored_events SET originator_version = -4 WHERE id = 4",
    "stream": "UPDATE stored_events SET originator_id = '00000000000000000000000000000001' WHERE id = 4",
    "stream-form": "UPDATE stored_events SET originator_id = upper(originator_id) WHERE id = 4",
    "stream-text": "UPDATE stored_events SET originator_id = 'no hexadecimal digits, at all...' WHERE id = 4",
    "position": "UPDATE stored_events SET id = 40 WHERE id = 4",
    "deleted": "DELETE FROM stored_events WHERE id = 4",
    "deleted-and-unlisted": "DELETE FROM stored_events WHERE id = 4; UPDATE streams SET version = 5",
    "deleted-whole": "DELETE FROM stored_events WHERE id = 4; DELETE FROM chain WHERE notification_id = 4",
    "leaf": "UPDATE chain SET leaf = zeroblob(32) WHERE notification_id = 4",
    "leaf-type": "UPDATE chain SET leaf = 'leaf' WHERE notification_id = 4",
    "unchained": "DELETE FROM chain WHERE notification_id = 4",
    "swapped": """
        UPDATE stored_events SET id = -4 WHERE id = 4;
        UPDATE stored_events SET id = 4 WHERE id = 5;
        UPDATE stored_events SET id = 5 WHERE id = -4""",
}
HIDDEN = {
    "head": "UPDATE chain SET head = zeroblob(32) WHERE notification_id = 4",
    "head-type": "UPDATE chain SET head = 4 WHERE notification_id = 4",
    "swapped-whole": """
        UPDATE stored_events SET id = -4 WHERE id = 4;
        UPDATE stored_events SET id = 4 WHERE id = 5;
        UPDATE stored_events SET id = 5 WHERE id = -4;
        UPDATE chain SET notification_id = -4 WHERE notification_id = 4;
        UPDATE chain SET notification_id = 4 WHERE notification_id = 5;
        UPDATE chain SET notification_id = 5 WHERE notification_id = -4""",
}


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_is_found_by_verification_and_by_reading(log: EventLog, path: Path, name: str) -> None:
    """Whatever is changed of a row, verification names its position, and reading stops before it."""
    with _behind(path) as database:
        database.executescript(EDITS[name])
    report = log.verify_chain()
    assert (report.bad_position, report.position) == (4, 3)
    assert ("missing" in report.problem) == (name in ("position", "deleted", "deleted-and-unlisted", "deleted-whole"))
    with pytest.raises(Corrupt):
        list(log.follow())
    with pytest.raises(Corrupt):
        list(log.stream(STREAM))
    assert [recorded.event for recorded in log.poll(0, max_bytes=3 * 1024)] == notes(3)


def test_a_stream_stops_at_the_gap(log: EventLog, path: Path) -> None:
    """Of a stream with a missing event, nothing behind the gap is handed out."""
    with _behind(path) as database:
        database.executescript(EDITS["deleted"])
    rows = log._recorder.stream_after(STREAM, 0)
    assert [next(rows).originator_version for _ in range(3)] == [1, 2, 3]
    with pytest.raises(Corrupt) as caught:
        next(rows)
    assert caught.value.code == "event-missing"


@pytest.mark.parametrize(
    "edit", ["DELETE FROM streams", "UPDATE streams SET version = 5", "INSERT INTO streams VALUES ('00', 1)"]
)
def test_an_edit_of_the_list_of_streams_is_found(log: EventLog, path: Path, edit: str) -> None:
    """The list that guards the ends of streams is itself verified against the events."""
    with _behind(path) as database:
        database.execute(edit)
    report = log.verify_chain()
    assert (report.ok, report.bad_position) == (False, None)


@pytest.mark.parametrize("name", HIDDEN)
def test_an_edit_of_the_chain_alone_is_found_by_verification(log: EventLog, path: Path, name: str) -> None:
    """A chain that no longer follows from its rows is named at its first wrong link."""
    with _behind(path) as database:
        database.executescript(HIDDEN[name])
    assert log.verify_chain().bad_position == 4


def test_an_inserted_row_is_found(log: EventLog, path: Path) -> None:
    """A row that did not come through the log breaks verification, reading and the next save."""
    with _behind(path) as database:
        database.execute(
            "INSERT INTO stored_events SELECT 7, originator_id, 7, topic, state FROM stored_events WHERE id = 6"
        )
    assert log.verify_chain().bad_position == 7
    with pytest.raises(Corrupt):
        log.poll(6)
    with pytest.raises(Corrupt) as caught:
        log.save(note(1, stream=OTHER))
    assert caught.value.code == "log-tail"


TAILS = {
    "events": "DELETE FROM stored_events WHERE id > 4",
    "events-and-chain": "DELETE FROM stored_events WHERE id > 4; DELETE FROM chain WHERE notification_id > 4",
    "chain": "DELETE FROM chain WHERE notification_id > 4",
}
EVERY_TRACE = """
    DELETE FROM stored_events WHERE id > 4;
    DELETE FROM chain WHERE notification_id > 4;
    UPDATE streams SET version = 4;
    UPDATE sqlite_sequence SET seq = 4"""


@pytest.mark.parametrize("name", TAILS)
def test_a_dropped_tail_is_found(log: EventLog, path: Path, name: str) -> None:
    """Positions that were given out are not forgotten, so a lost end shows at opening, at saving and in the chain."""
    with _behind(path) as database:
        database.executescript(TAILS[name])
    assert log.verify_chain().bad_position == 5
    with pytest.raises(Corrupt):
        log.save(note(1, stream=OTHER))
    with pytest.raises(Corrupt) as caught:
        EventLog.open(path)
    assert caught.value.code == "log-tail"


def test_a_tail_dropped_while_following_is_found(log: EventLog, path: Path) -> None:
    """A log that gets shorter under a reader ends its reading with an error, not with silence."""
    reader = log.follow(max_bytes=1)
    assert next(reader).position == 1
    with _behind(path) as database:
        database.executescript(EVERY_TRACE)
    with pytest.raises(Corrupt) as caught:
        list(reader)
    assert caught.value.code == "log-behind"


def test_a_tail_dropped_without_a_trace_shows_against_a_kept_head(log: EventLog, path: Path) -> None:
    """With every trace of the tail removed, only a position and head from elsewhere tell; those do."""
    kept = (log.position(), log.chain_head())
    assert log.verify_chain(expected=kept).ok
    with _behind(path) as database:
        database.executescript(EVERY_TRACE)
    assert log.verify_chain().ok
    report = log.verify_chain(expected=kept)
    assert (report.bad_position, report.position) == (5, 4)


def test_a_rewritten_history_shows_against_a_kept_head(log: EventLog, path: Path) -> None:
    """Somebody who recomputes the whole chain after an edit fails against any head kept from after it."""
    kept = [(position, log.chain_head(position)) for position in range(EVENTS + 1)]
    with _behind(path) as database:
        state = database.execute("SELECT state FROM stored_events WHERE id = 1").fetchone()[0]
        database.execute("UPDATE stored_events SET state = ? WHERE id = 4", (state,))
        _rechain(database)
    assert log.verify_chain().ok
    assert [log.verify_chain(expected=head).ok for head in kept] == [True] * 4 + [False] * 3
    assert log.verify_chain(expected=kept[5]).bad_position == 5


def _rechain(database: Database) -> None:
    head = GENESIS
    rows = database.execute("SELECT id, originator_version, topic, state FROM stored_events ORDER BY id").fetchall()
    for position, version, topic, state in rows:
        leaf = leaf_of(STREAM, version, topic, state)
        head = next_head(head, leaf)
        database.execute("UPDATE chain SET leaf = ?, head = ? WHERE notification_id = ?", (leaf, head, position))


def test_a_position_is_never_used_again(log: EventLog, path: Path) -> None:
    """After deleting the end, a new row gets a new position: no reader can take it for one it has seen."""
    with _behind(path) as database:
        database.executescript(TAILS["events-and-chain"])
        database.execute(
            "INSERT INTO stored_events (originator_id, originator_version, topic, state) VALUES ('x', 1, 'y', x'00')"
        )
        assert database.execute("SELECT MAX(id) FROM stored_events").fetchone() == (7,)
    assert log.verify_chain().bad_position == 5


def test_a_damaged_index_is_found(log: EventLog, path: Path) -> None:
    """Events that the file's own index no longer lists are missed by their stream and found by verification."""
    with _behind(path) as database:
        (root,) = database.execute("SELECT rootpage FROM sqlite_schema WHERE type = 'index'").fetchone()
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (page_bytes,) = database.execute("PRAGMA page_size").fetchone()
    log.close()
    content = bytearray(path.read_bytes())
    at = (root - 1) * page_bytes
    content[at + 3 : at + 5] = (EVENTS - 1).to_bytes(2, "big")
    path.write_bytes(content)
    with EventLog.open(path) as damaged:
        report = damaged.verify_chain()
        with pytest.raises(Corrupt) as caught:
            list(damaged.stream(STREAM))
        with pytest.raises(Corrupt):
            damaged.version(STREAM)
        assert caught.value.code == "event-missing"
    assert (report.ok, report.bad_position, report.position) == (False, None, EVENTS)


def test_a_flipped_bit_of_the_file_never_makes_an_event(path: Path) -> None:
    """Wherever the file rots, the log refuses or gives back exactly what was recorded."""
    events: list[Event] = [*notes(40), *chunk_events([chunk_rows(500)])]
    with EventLog.create(path) as log:
        log.save(*events)
    whole = path.read_bytes()
    choose = random.Random(7)
    outcomes = [_read_flipped(path, whole, choose.randrange(len(whole) * 8)) for _ in range(400)]
    wrong = [outcome for outcome in outcomes if outcome not in (events, None)]
    assert wrong == []
    assert outcomes.count(None) > 100


def _read_flipped(path: Path, whole: bytes, bit: int) -> list[Event] | None:
    content = bytearray(whole)
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    try:
        with EventLog.open(path) as log:
            assert list(log.stream(STREAM)) == notes(40)
            return [recorded.event for recorded in log.follow()]
    except HoldfastError:
        return None

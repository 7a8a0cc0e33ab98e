"""What SQLite reports, in our words."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from catalog.log import EventLog
from catalog.log.failures import translated
from catalog.log.sqlite import LogConnection, database_uri
from storage.errors import Corrupt, Denied, Limit, NotFound, Unavailable
from tests.support.log_events import STREAM, chunk_events, chunk_rows, note, notes


def test_a_second_writer_is_told_to_wait(log: EventLog, path: Path) -> None:
    """While another process holds the write lock, saving is Unavailable, reading works, and later all is well."""
    log.save(*notes(2))
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with EventLog.open(path, lock_timeout_s=1) as second:
        with pytest.raises(Unavailable) as caught:
            second.save(note(3))
        assert caught.value.code == "log-busy"
        assert list(second.stream(STREAM)) == notes(2)
        other.execute("ROLLBACK")
        assert second.save(note(3)) == 3
    other.close()


def test_a_full_disk_is_a_limit(log: EventLog, path: Path) -> None:
    """When the file cannot grow, nothing of the save is there, what was is whole, and saving works again with space."""
    log.save(*notes(10))
    head = log.chain_head()
    events = [*notes(2, first=11), *chunk_events(chunk_rows(10_000, first) for first in (0, 10_000))]
    _set_max_pages(log, 12)
    with pytest.raises(Limit) as caught:
        log.save(*events)
    assert caught.value.code == "log-full"
    assert (log.position(), log.chain_head()) == (10, head)
    assert log.verify_chain().ok
    _set_max_pages(log, 1 << 20)
    assert log.save(*events) == 14
    assert log.verify_chain().events == 14


def _set_max_pages(log: EventLog, pages: int) -> None:
    with log._recorder.datastore.transaction(commit=False) as cursor:
        cursor.execute(f"PRAGMA max_page_count={pages}")


def test_a_file_that_may_not_be_opened_is_denied(path: Path) -> None:
    """Not being let in says nothing of the bytes: Denied, not Corrupt."""
    with pytest.raises(Denied) as caught, translated(path):
        sqlite3.connect(database_uri(path), uri=True)
    assert caught.value.code == "log-denied"


def test_a_log_without_a_folder_is_not_created(tmp_path: Path) -> None:
    """Creating in a folder that is not there says so."""
    with pytest.raises(NotFound) as caught:
        EventLog.create(tmp_path / "missing" / "events.sqlite")
    assert caught.value.code == "log-missing"


@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.99])
def test_a_truncated_file_is_corrupt(path: Path, share: float) -> None:
    """A log whose file was cut anywhere is refused at opening, and not read as a shorter log."""
    with EventLog.create(path) as log:
        log.save(*notes(2000))
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.truncate(int(size * share))
    with pytest.raises(Corrupt):
        EventLog.open(path)


def test_a_file_cut_while_open_is_corrupt(log: EventLog, path: Path) -> None:
    """A file that gets shorter under an open log is refused at the next read."""
    log.save(*notes(2000))
    assert log._recorder.one("PRAGMA wal_checkpoint(TRUNCATE)")[0] == 0
    with EventLog.open(path) as second:
        with path.open("r+b") as file:
            file.truncate(path.stat().st_size // 2)
        with pytest.raises(Corrupt):
            list(second.follow())


def test_a_failed_commit_leaves_no_transaction_open(tmp_path: Path) -> None:
    """After a commit that failed, the connection goes back to the pool clean and with nothing written."""
    connection = LogConnection(sqlite3.connect(tmp_path / "any.sqlite", isolation_level=None), max_age=None)
    cursor = connection.cursor()
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.execute("CREATE TABLE a (id INTEGER PRIMARY KEY REFERENCES a (b) DEFERRABLE INITIALLY DEFERRED, b UNIQUE)")
    cursor.execute("BEGIN")
    cursor.execute("INSERT INTO a VALUES (1, 2)")
    with pytest.raises(sqlite3.IntegrityError):
        connection.commit()
    cursor.execute("BEGIN")
    cursor.execute("SELECT COUNT(*) FROM a")
    assert cursor.fetchone() == (0,)
    connection.close()


def test_a_missing_table_is_corrupt(path: Path) -> None:
    """A log without its chain is refused."""
    EventLog.create(path).close()
    database = sqlite3.connect(path)
    database.execute("DROP TABLE chain")
    database.close()
    with pytest.raises(Corrupt) as caught:
        EventLog.open(path)
    assert caught.value.code == "log-damaged"


def test_a_missing_file_is_not_created_by_a_closed_log(path: Path) -> None:
    """The log opens a file that exists and never makes an empty one in its place."""
    EventLog.create(path).close()
    path.unlink()
    with pytest.raises(NotFound):
        EventLog.open(path)
    assert not path.exists()

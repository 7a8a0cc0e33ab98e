"""Saving and reading through the one door."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from eventsourcing.application import Application, LocalNotificationLog

from catalog.domain.events import SourceAdded
from catalog.log import EventLog
from catalog.log.chain import GENESIS
from storage.errors import Conflict, Corrupt, HoldfastError, Invalid, NotFound
from tests.support.log_events import OTHER, STREAM, chunk_events, chunk_rows, note, notes


def test_what_is_saved_is_read_back_in_order(log: EventLog) -> None:
    """Streams and the log give back the events that were saved, in the order they were saved."""
    assert log.save(note(1, "a"), note(1, "b", OTHER), note(2, "c")) == 3
    assert log.save(note(2, "d", OTHER)) == 4
    assert list(log.stream(STREAM)) == [note(1, "a"), note(2, "c")]
    assert list(log.stream(OTHER, after_version=1)) == [note(2, "d", OTHER)]
    assert [(r.position, r.event) for r in log.follow(1)] == [
        (2, note(1, "b", OTHER)),
        (3, note(2, "c")),
        (4, note(2, "d", OTHER)),
    ]
    assert (log.version(STREAM), log.version(uuid4()), log.position()) == (2, 0, 4)


def test_events_survive_closing(path: Path) -> None:
    """A log that is closed and opened again holds the same events under the same head."""
    with EventLog.create(path) as log:
        log.save(*notes(5))
        head = log.chain_head()
    with EventLog.open(path) as log:
        assert list(log.stream(STREAM)) == notes(5)
        assert log.chain_head() == head == log.chain_head(5)


def test_the_library_saves_and_reads_our_events(log: EventLog) -> None:
    """The log is an application of the event-sourcing library, whose own reader sees the same rows."""
    application = log._app
    assert isinstance(application, Application)
    log.save(*notes(25))
    reader = LocalNotificationLog(application.recorder, section_size=10)
    found = [application.mapper.to_domain_event(stored) for stored in reader.select(11, limit=10)]
    assert found == notes(25)[10:20]
    assert [n.id for n in reader.select(1, 10, stop=3)] == [1, 2, 3]
    assert [n.id for n in reader.select(3, 10, topics=["LeftoverCleaned/1"], inclusive_of_start=False)][:2] == [4, 5]
    assert list(application.events.get(STREAM, gt=20, lte=22, desc=True)) == [notes(25)[21], notes(25)[20]]


def test_saving_nothing_is_no_event(log: EventLog) -> None:
    """A save of nothing returns where the log is and adds nothing."""
    assert log.save() == 0
    log.save(note(1))
    assert log.save() == 1
    assert log.chain_head(0) == GENESIS


def test_saving_again_is_idempotent(log: EventLog) -> None:
    """The very same events saved twice are there once, and both saves name the same position."""
    assert log.save(*notes(3)) == 3
    log.save(note(1, "else", OTHER))
    assert log.save(*notes(3)) == 3
    assert log.save(notes(3)[1]) == 2
    assert log.position() == 4


def test_a_taken_version_is_a_conflict(log: EventLog) -> None:
    """Another event under a version that exists is refused, and so is everything saved with it."""
    log.save(*notes(2))
    for events in ([note(2, "else")], [note(1, "new", OTHER), note(2, "else")], [*notes(2), note(3)][1:]):
        with pytest.raises(Conflict) as caught:
            log.save(*events)
        assert caught.value.code == "event-version"
    assert (log.position(), log.version(OTHER)) == (2, 0)


@pytest.mark.parametrize("versions", [(2,), (1, 3), (2, 1), (1, 1)])
def test_a_stream_has_no_gaps(log: EventLog, versions: tuple[int, ...]) -> None:
    """Versions that skip, repeat or go back are refused."""
    with pytest.raises(Conflict) as caught:
        log.save(*(note(version) for version in versions))
    assert caught.value.code == "event-version"
    assert log.position() == 0


@pytest.mark.parametrize("version", [0, -1, 2**63])
def test_versions_count_from_one(log: EventLog, version: int) -> None:
    """A version that no stream can have is refused."""
    with pytest.raises((Invalid, Conflict)):
        log.save(note(version))
    assert log.position() == 0


def test_poll_stops_at_its_budget(log: EventLog) -> None:
    """A poll ends once the decoded size is reached, and returns one event however large it is."""
    log.save(*chunk_events([chunk_rows(1000, first) for first in range(0, 6000, 1000)]))
    sizes = [recorded.state_bytes for recorded in log.poll(0)]
    assert len(sizes) == 6
    assert all(33_000 < size < 38_000 for size in sizes)
    assert [r.position for r in log.poll(0, max_bytes=1)] == [1]
    assert [r.position for r in log.poll(2, max_bytes=90_000)] == [3, 4]
    assert [r.position for r in log.follow(1, max_bytes=1)] == [2, 3, 4, 5, 6]
    assert log.poll(6) == []


def test_long_logs_are_read_in_flat_memory(log: EventLog, path: Path) -> None:
    """100,000 events, and batches many times the budget, pass through a poll without piling up."""
    for number in range(20):
        log.save(*notes(5000, UUID(int=number + 1)))
    log.save(*chunk_events(chunk_rows(10_000, first) for first in range(0, 600_000, 10_000)))
    follow = subprocess.run([sys.executable, "-c", FOLLOW, path], capture_output=True, text=True, check=True)
    count, first_kib, last_kib = map(int, follow.stdout.split())
    assert count == 100_060
    assert last_kib - first_kib < 16 * 1024


FOLLOW = """
import pathlib, re, sys
from catalog.log import EventLog
def peak_kib(): return int(re.search(r"VmHWM:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1])
with EventLog.open(pathlib.Path(sys.argv[1])) as log:
    log.poll(0, max_bytes=1 << 20)
    log.poll(100_000, max_bytes=1 << 20)
    first = peak_kib()
    print(sum(1 for _ in log.follow(max_bytes=1 << 20)), first, peak_kib())
"""


def test_follow_ends_where_the_log_was(log: EventLog) -> None:
    """Events saved while following are left to the next time, so that following ends."""
    log.save(*notes(3))
    seen = []
    for recorded in log.follow(max_bytes=2 * 1024):
        seen.append(recorded.position)
        log.save(note(recorded.position, stream=OTHER))
    assert seen == [1, 2, 3]
    assert log.position() == 6


def test_only_some_types_can_be_followed(log: EventLog) -> None:
    """Asked for some types, following gives exactly their events, whatever pages they fall into."""
    added = {"originator_id": OTHER, "originator_version": 1, "recorded_at": note(1).recorded_at}
    seen = [SourceAdded(**added, name="a", kind="image", settings={})]
    log.save(*notes(3))
    log.save(*seen)
    log.save(note(4))
    assert [recorded.event for recorded in log.follow_only((SourceAdded,), max_bytes=1)] == seen
    kinds = (type(note(1)), SourceAdded)
    assert list(log.follow_only(kinds, max_bytes=1)) == list(log.follow())
    assert list(log.follow_only(kinds, 5)) == []


def test_a_reader_ahead_of_the_log_is_told(log: EventLog) -> None:
    """A position that the log has not reached is no empty answer: the log lost events that were read."""
    log.save(*notes(3))
    with pytest.raises(Corrupt) as caught:
        log.poll(4)
    assert caught.value.code == "log-behind"
    with pytest.raises(NotFound):
        log.chain_head(4)


def test_the_environment_does_not_reach_the_log(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings of the library in the process environment change nothing of what is stored."""
    for name in ("PERSISTENCE_MODULE", "MAPPER_TOPIC", "COMPRESSOR_TOPIC", "CIPHER_TOPIC", "TRANSCODER_TOPIC"):
        monkeypatch.setenv(name, "eventsourcing.popo")
        monkeypatch.setenv(f"HOLDFAST_{name}", "eventsourcing.popo")
    monkeypatch.setenv("SQLITE_DBNAME", ":memory:")
    with EventLog.create(path) as log:
        log.save(*notes(2))
    with EventLog.open(path) as log:
        assert list(log.stream(STREAM)) == notes(2)


@pytest.mark.parametrize("name", ["a b?mode=memory", "c#d%20e", ":memory:", "é'\""])
def test_any_path_serves(tmp_path: Path, name: str) -> None:
    """Characters that mean something in a URI mean nothing in a path."""
    folder = tmp_path / name
    folder.mkdir()
    with EventLog.create(folder / "events.sqlite") as log:
        log.save(note(1))
    assert [entry.name for entry in folder.iterdir()] == ["events.sqlite"]
    with EventLog.open(folder / "events.sqlite") as log:
        assert log.position() == 1


def test_create_never_replaces(path: Path) -> None:
    """Creating over a file that exists is refused and leaves it, and nothing else, behind."""
    path.write_bytes(b"kept")
    with pytest.raises(Conflict) as caught:
        EventLog.create(path)
    assert caught.value.code == "log-exists"
    assert path.read_bytes() == b"kept"
    assert list(path.parent.iterdir()) == [path]


def test_open_creates_nothing(path: Path) -> None:
    """Opening what is not there says so and leaves nothing behind."""
    with pytest.raises(NotFound) as caught:
        EventLog.open(path)
    assert caught.value.code == "log-missing"
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize(("version", "kind", "code"), [(2, Invalid, "log-newer"), (0, Corrupt, "log-format")])
def test_another_format_is_refused(path: Path, version: int, kind: type[HoldfastError], code: str) -> None:
    """A format number beyond ours asks for a newer version; one that never was is no log."""
    EventLog.create(path).close()
    database = sqlite3.connect(path, isolation_level=None)
    database.execute(f"PRAGMA user_version={version}")
    database.close()
    with pytest.raises(kind) as caught:
        EventLog.open(path)
    assert caught.value.code == code


def test_a_foreign_database_is_refused(path: Path) -> None:
    """A database of something else, and a file that is none, are no event log."""
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE stored_events (id INTEGER)")
    database.close()
    with pytest.raises(Corrupt) as caught:
        EventLog.open(path)
    assert caught.value.code == "log-format"
    path.write_bytes(b"not a database " * 1000)
    with pytest.raises(Corrupt) as caught:
        EventLog.open(path)
    assert caught.value.code == "log-damaged"


def test_commits_are_synced(log: EventLog) -> None:
    """Every connection runs in WAL mode with full synchronisation."""
    recorder = log._recorder
    assert recorder.one("PRAGMA journal_mode") == ("wal",)
    assert recorder.one("PRAGMA synchronous") == (2,)

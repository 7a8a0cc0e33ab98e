"""The record of accesses: durable, complete, bounded, and no answer without it."""

from __future__ import annotations

import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from catalog.access import journal as module
from catalog.access.caller import EVERYTHING, Caller, Role
from catalog.access.journal import MAX_DETAIL, Access, AccessJournal, capped
from catalog.access.tokens import TokenBook
from catalog.domain.access import AccessRecorded
from catalog.domain.events import Event
from catalog.domain.ids import access_stream
from catalog.log import EventLog
from storage.errors import Limit, Unavailable
from tests.catalog.access.conftest import Clock
from tests.support.eventually import eventually
from tests.support.recorded import REPOSITORY

PROCESS = UUID("00000000-0000-4000-8000-0000000000aa")
ADA = Caller("ada", "token", Role.AUDITOR, EVERYTHING)


@pytest.fixture
def journal(log: EventLog, clock: Clock) -> AccessJournal:
    """The journal of one process."""
    return AccessJournal(log, REPOSITORY, PROCESS, clock)


def record(journal: AccessJournal, **fields: Any) -> int:
    """Record an access; `fields` are what matters."""
    usual = {"operation": "sql", "target": "/v1/sql", "detail": "SELECT 1", "address": "192.0.2.7", "status": 200}
    return journal.record(Access(ADA, **{**usual, **fields}))


class Slow:
    """A log whose saves wait until they are let go, and that counts them."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self.go = threading.Semaphore(0)
        self.entered = threading.Semaphore(0)
        self.sizes: list[int] = []

    def version(self, stream: UUID) -> int:
        return self._log.version(stream)

    def save(self, *events: Event) -> int:
        self.sizes.append(len(events))
        self.entered.release()
        assert self.go.acquire(timeout=30)
        return self._log.save(*events)


def waiting(journal: AccessJournal, count: int) -> None:
    """Return when so many records wait."""
    eventually(lambda: len(journal._waiting) >= count, "records that wait")


def test_an_access_is_in_the_log_when_it_returns(journal: AccessJournal, log: EventLog, clock: Clock) -> None:
    """The event at the returned position has who, what, from where and when."""
    position = record(journal)
    (stored,) = log.follow()
    assert stored.position == position
    assert stored.event == AccessRecorded(
        originator_id=access_stream(REPOSITORY, PROCESS),
        originator_version=1,
        recorded_at=clock.now,
        caller="ada",
        caller_kind="token",
        role="auditor",
        operation="sql",
        target="/v1/sql",
        detail="SELECT 1",
        address="192.0.2.7",
        status=200,
    )


def test_many_threads_share_few_transactions(log: EventLog, clock: Clock) -> None:
    """What queues while a save runs goes into the next one, all of it, and each thread gets its own position."""
    slow = Slow(log)
    journal = AccessJournal(slow, REPOSITORY, PROCESS, clock)  # type: ignore[arg-type]  # has what is used
    with ThreadPoolExecutor(50) as pool:
        first = pool.submit(record, journal, detail="0")
        assert slow.entered.acquire(timeout=30)
        others = [pool.submit(record, journal, detail=str(number)) for number in range(1, 50)]
        waiting(journal, 49)
        slow.go.release(2)
        positions = [one.result(30) for one in [first, *others]]
    assert slow.sizes == [1, 49]
    details = {one.position: one.event.detail for one in log.follow() if isinstance(one.event, AccessRecorded)}
    assert [details[position] for position in positions] == [str(number) for number in range(50)]


def test_some_together_are_recorded_all_or_none(journal: AccessJournal, log: EventLog) -> None:
    """Their positions come in their order, behind each other; when the log takes none, none is there."""
    some = [Access(ADA, "sql", "/v1/sql", str(number), "192.0.2.7", 200) for number in range(5)]
    positions = journal.record_all(some)
    assert positions == list(range(positions[0], positions[0] + 5))
    details = [one.event.detail for one in log.follow() if isinstance(one.event, AccessRecorded)]
    assert details == ["0", "1", "2", "3", "4"]


def test_nothing_acknowledged_is_lost_or_doubled(journal: AccessJournal, log: EventLog) -> None:
    """Under many threads each record is there once, at the position that its thread was told."""
    with ThreadPoolExecutor(16) as pool:
        positions = list(pool.map(lambda number: record(journal, detail=str(number)), range(400)))
    details = {one.position: one.event.detail for one in log.follow() if isinstance(one.event, AccessRecorded)}
    assert len(details) == 400
    assert [details[position] for position in positions] == [str(number) for number in range(400)]


def test_two_processes_write_streams_of_their_own(journal: AccessJournal, path: Path, clock: Clock) -> None:
    """They never conflict, since each has its own process id."""
    with EventLog.open(path) as elsewhere:
        other = AccessJournal(elsewhere, REPOSITORY, UUID(int=7), clock)
        with ThreadPoolExecutor(2) as pool:
            mine = pool.submit(lambda: [record(journal) for _ in range(30)])
            theirs = pool.submit(lambda: [record(other) for _ in range(30)])
            assert sorted(mine.result(30) + theirs.result(30)) == list(range(1, 61))


def test_a_log_that_does_not_take_it_fails_the_call(path: Path, clock: Clock, log: EventLog) -> None:
    """While another writer holds the log the call fails as unavailable; afterwards the journal works again."""
    with EventLog.open(path, lock_timeout_s=1) as impatient:
        journal = AccessJournal(impatient, REPOSITORY, PROCESS, clock)
        record(journal)
        blocker = sqlite3.connect(path, isolation_level=None)
        blocker.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable) as caught:
            record(journal)
        assert caught.value.code == "access-unrecorded"
        assert str(path) not in str(caught.value)
        blocker.rollback()
        blocker.close()
        assert record(journal) == 2
    assert log.position() == 2


def test_a_failure_is_told_to_all_who_waited(log: EventLog, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the save of a batch fails nobody of the batch is answered, and later records go through."""
    slow = Slow(log)
    journal = AccessJournal(slow, REPOSITORY, PROCESS, clock)  # type: ignore[arg-type]  # has what is used
    with ThreadPoolExecutor(5) as pool:
        first = pool.submit(record, journal)
        assert slow.entered.acquire(timeout=30)
        others = [pool.submit(record, journal) for _ in range(4)]
        waiting(journal, 4)
        monkeypatch.setattr(log, "version", lambda stream: 7)
        slow.go.release(2)
        assert first.result(30) == 1
        for one in others:
            with pytest.raises(Unavailable):
                one.result(30)
    monkeypatch.undo()
    slow.go.release()
    assert record(journal) == 2


def test_a_fault_in_the_saving_thread_does_not_hang_the_others(log: EventLog, clock: Clock) -> None:
    """A fault that is no error of ours reaches its own thread as it is, and the waiting ones as unavailable."""
    entered, go = threading.Event(), threading.Event()

    def broken() -> Any:
        entered.set()
        assert go.wait(30)
        raise ZeroDivisionError

    journal = AccessJournal(log, REPOSITORY, PROCESS, broken)
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(record, journal)
        assert entered.wait(30)
        others = [pool.submit(record, journal) for _ in range(2)]
        waiting(journal, 2)
        go.set()
        failures = [type(one.exception(30)) for one in [first, *others]]
    assert sorted(kind.__name__ for kind in failures) == ["Unavailable", "ZeroDivisionError", "ZeroDivisionError"]
    assert log.position() == 0


def test_the_queue_is_bounded(log: EventLog, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """More waiting records than the limit are refused at once, and those that wait are still recorded."""
    monkeypatch.setattr(module, "MAX_WAITING", 3)
    slow = Slow(log)
    journal = AccessJournal(slow, REPOSITORY, PROCESS, clock)  # type: ignore[arg-type]  # has what is used
    with ThreadPoolExecutor(4) as pool:
        taken = [pool.submit(record, journal)]
        assert slow.entered.acquire(timeout=30)
        taken += [pool.submit(record, journal) for _ in range(3)]
        waiting(journal, 3)
        with pytest.raises(Limit) as caught:
            record(journal)
        assert caught.value.code == "access-queue"
        slow.go.release(2)
        assert sorted(one.result(30) for one in taken) == [1, 2, 3, 4]


def test_a_closed_journal_takes_nothing(log: EventLog, clock: Clock) -> None:
    """Closing waits for what was taken and refuses what comes later."""
    slow = Slow(log)
    journal = AccessJournal(slow, REPOSITORY, PROCESS, clock)  # type: ignore[arg-type]  # has what is used
    with ThreadPoolExecutor(2) as pool:
        taken = pool.submit(record, journal)
        assert slow.entered.acquire(timeout=30)
        closing = pool.submit(journal.close)
        slow.go.release()
        closing.result(30)
        assert log.position() == 1
        assert taken.result(30) == 1
    with pytest.raises(Unavailable):
        record(journal)


def test_long_text_is_cut_and_says_so() -> None:
    """The mark tells how much is gone and has the digest of the whole, so that a copy can be compared."""
    text = "SELECT '" + "x" * MAX_DETAIL + "'"
    kept = capped(text, MAX_DETAIL)
    assert kept.startswith(text[:MAX_DETAIL] + "…")
    assert str(len(text) - MAX_DETAIL) in kept
    assert sha256(text.encode()).hexdigest() in kept
    assert capped("x" * MAX_DETAIL, MAX_DETAIL) == "x" * MAX_DETAIL


def test_hostile_text_is_kept_as_data(journal: AccessJournal, log: EventLog) -> None:
    """Control characters come back as they were; lone surrogates, which UTF-8 has not, are written out."""
    hostile = "\x00\x1b[31m\r\n\u202e<script>é😀"
    record(journal, detail=hostile, target="/v1/\ud800", address="\n")
    (stored,) = [one.event for one in log.follow() if isinstance(one.event, AccessRecorded)]
    assert (stored.detail, stored.target, stored.address) == (hostile, "/v1/\\ud800", "\n")


def test_a_secret_in_the_wrong_place_is_not_kept(journal: AccessJournal, log: EventLog, tokens: TokenBook) -> None:
    """A token that somebody sent in a URL or a statement is recorded without its random half."""
    _, secret = tokens.create("grafana", Role.AUDITOR, None, None, "ada")
    record(journal, detail=f"SELECT '{secret}'", target=f"/v1/machines?a={secret}&b={secret}")
    (stored,) = [one.event for one in log.follow() if isinstance(one.event, AccessRecorded)]
    assert stored.detail == f"SELECT '{secret[:36]}***'"
    assert secret[36:] not in stored.target

"""The index is kept up with the log: at once for what happened, lazily for records of calls alone."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

from catalog.access.identity import local_caller
from catalog.access.journal import Access, AccessJournal
from catalog.api.follower import LAZY_POLLS, Follower
from catalog.log import EventLog
from catalog.runtime import utc_now
from storage.errors import Unavailable
from tests.support.log_events import note

PROCESS = UUID(int=7)


class Steps:
    """A follower that is stepped by hand, and what it did."""

    def __init__(self, log: EventLog) -> None:
        self.log = log
        self.projected: list[int] = []
        self.broken: Exception | None = None
        self.follower = Follower(log, self._project, lambda: 0, lambda: None, poll_seconds=3600)

    def _project(self) -> int:
        if self.broken is not None:
            raise self.broken
        self.projected.append(self.log.position())
        return self.projected[-1]

    def step(self) -> None:
        self.follower._attempt("index", self.follower._turn)


def recorded(log: EventLog) -> None:
    """A call is recorded."""
    with AccessJournal(log, UUID(int=1), PROCESS, utc_now) as journal:
        journal.record(Access(local_caller(), "x", "/", "", "", 200))


def test_records_of_calls_wait(tmp_path: Path) -> None:
    """Records of calls alone are projected after some looks, or when somebody waits for them."""
    with EventLog.create(tmp_path / "events.sqlite") as log:
        steps = Steps(log)
        recorded(log)
        for _ in range(LAZY_POLLS - 1):
            steps.step()
        assert steps.projected == []
        steps.step()
        assert steps.projected == [1]
        recorded(log)
        steps.step()
        assert steps.projected == [1]
        steps.follower.hurry()
        steps.step()
        assert steps.projected == [1, 2]


def test_what_happened_is_projected_at_once(tmp_path: Path) -> None:
    """Any other event is projected at the next look, whatever records of calls stand before it."""
    with EventLog.create(tmp_path / "events.sqlite") as log:
        steps = Steps(log)
        recorded(log)
        steps.step()
        log.save(note(1))
        steps.step()
        assert steps.projected == [2]


def test_failures_show_until_they_are_over(tmp_path: Path) -> None:
    """A failure, or a bug, is shown with its code, is tried again at each look, and is forgotten when it is over."""
    with EventLog.create(tmp_path / "events.sqlite") as log:
        steps = Steps(log)
        log.save(note(1))
        steps.broken = Unavailable("no disk", code="disk-gone")
        steps.step()
        assert steps.follower.trouble is not None
        assert steps.follower.trouble.code == "disk-gone"
        steps.broken = ZeroDivisionError("the canary")
        steps.step()
        assert steps.follower.trouble.code == "internal"
        assert "canary" not in str(steps.follower.trouble)
        steps.broken = None
        steps.step()
        assert steps.follower.trouble is None
        assert steps.projected == [1]

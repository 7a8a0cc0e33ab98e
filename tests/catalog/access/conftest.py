"""An event log, a clock that stands still until it is moved, and tokens over both."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from catalog.access.tokens import TokenBook
from catalog.log import EventLog
from tests.support.recorded import REPOSITORY


@dataclass
class Clock:
    """A time that only tests move."""

    now: datetime = datetime(2026, 3, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **by: float) -> None:
        self.now += timedelta(**by)


@pytest.fixture
def clock() -> Clock:
    """A clock."""
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the log of a test is."""
    return tmp_path / "events.sqlite"


@pytest.fixture
def log(path: Path) -> Iterator[EventLog]:
    """An empty log, closed afterwards."""
    with EventLog.create(path) as created:
        yield created


@pytest.fixture
def tokens(log: EventLog, clock: Clock) -> TokenBook:
    """The tokens of the log."""
    return TokenBook(log, REPOSITORY, clock, secrets.token_bytes)

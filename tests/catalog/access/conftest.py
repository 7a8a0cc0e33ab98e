"""An event log, a clock that stands still until it is moved, tokens over both, and an identity provider."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from catalog.access.tokens import TokenBook
from catalog.log import EventLog
from tests.support.asked_provider import CLIENTS, EC, RSA, Asked, Asking
from tests.support.openid import Provider, running_provider
from tests.support.recorded import REPOSITORY
from tests.support.ticks import Ticks


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


@pytest.fixture(scope="session")
def running() -> Iterator[Provider]:
    """A provider for all tests of this process."""
    with running_provider(CLIENTS, RSA, EC) as provider:
        yield provider


@pytest.fixture
def provider(running: Provider) -> Provider:
    """The provider with its first keys."""
    if running.keys != [RSA, EC]:
        running.rotate(RSA, EC)
    return running


@pytest.fixture
def ticks() -> Ticks:
    """The time by which keys grow old."""
    return Ticks()


@pytest.fixture
def asking(provider: Provider, ticks: Ticks) -> Iterator[Asking]:
    """Makes verifiers of the provider, with the settings that matter."""
    with ExitStack() as stack:
        yield lambda **settings: stack.enter_context(closing(Asked(provider, ticks, **settings)))


@pytest.fixture
def asked(asking: Asking) -> Asked:
    """A verifier with the usual settings."""
    return asking()

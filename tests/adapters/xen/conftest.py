"""A simulated pool for the adapter's tests, and sessions at it that end with the test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from adapters.xen.session import Session, Timing
from tests.support.xapi import XapiSimulator

MakeSession = Callable[..., Session]
StartPool = Callable[..., XapiSimulator]

PATIENT = Timing(call_seconds=60, event_seconds=1, search_seconds=60, search_pause_seconds=0.05)


@pytest.fixture
def start_pool(tmp_path: Path) -> Iterator[StartPool]:
    """Start pools with the simulator's arguments."""
    with ExitStack() as stack:
        started: list[XapiSimulator] = []

        def start(*arguments: object, **others: object) -> XapiSimulator:
            directory = tmp_path / f"pool{len(started)}"
            started.append(stack.enter_context(XapiSimulator(directory, *arguments, **others)))
            return started[-1]

        yield start


@pytest.fixture
def pool(start_pool: StartPool) -> XapiSimulator:
    """A pool of one host with the simulator's machines."""
    return start_pool()


@pytest.fixture
def session_of() -> Iterator[MakeSession]:
    """Make sessions at a pool, with settings of their own; they are closed at the end of the test."""
    with ExitStack() as stack:

        def make(pool: XapiSimulator, timing: Timing = PATIENT, **settings: object) -> Session:
            session = Session(pool.settings(**settings), timing)
            stack.callback(session.close)
            return session

        yield make

"""A simulated pool for the adapter's tests, and sessions and sources at it that end with the test."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from adapters.image.rawreader import RawReader
from adapters.port import BlockReader, TransportChoice
from adapters.xen.session import Session, Timing
from adapters.xen.source import XenSource
from adapters.xen.transport.access import VdiAccess
from tests.support.xapi import XapiSimulator
from tests.support.xapi.harness import QUICK

MakeSession = Callable[..., Session]
MakeSource = Callable[..., XenSource]
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


@pytest.fixture
def source_of(tmp_path: Path) -> Iterator[MakeSource]:
    """Make sources on a pool that are closed in the end, hardly pause, and read files where NBD would be."""
    with ExitStack() as stack:

        def make(
            pool: XapiSimulator, *, sleep: Callable[[float], None] = lambda _: None, **settings: object
        ) -> XenSource:
            def read(choice: TransportChoice, access: VdiAccess) -> BlockReader:
                return _file_reader(pool, choice, access)

            source = XenSource(
                "pool",
                pool.settings(**settings),
                tmp_path / "run",
                timing=PATIENT,
                patience=QUICK,
                sleep=sleep,
                open_reader=read,
            )
            stack.callback(source.close)
            return source

        yield make


@pytest.fixture
def source(pool: XapiSimulator, source_of: MakeSource) -> XenSource:
    """A source on the pool."""
    return source_of(pool)


def _file_reader(pool: XapiSimulator, choice: TransportChoice, access: VdiAccess) -> BlockReader:
    (vdi,) = pool.records.find("VDI", uuid=access.uuid)
    path = pool.disks.path(vdi)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return RawReader(path, descriptor, access.size_bytes, choice.kind)
    finally:
        os.close(descriptor)

"""Simulated pools for the adapter's tests, and sources on them that read the disks' files at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from adapters.image.rawreader import RawReader
from adapters.port import BlockReader, TransportChoice
from adapters.xen.source import XenSource
from adapters.xen.transport.access import VdiAccess
from tests.support.xapi.building import MachineSpec
from tests.support.xapi.harness import QUICK
from tests.support.xapi.simulator import DEFAULT_MACHINES, XapiSimulator

StartPool = Callable[..., XapiSimulator]
MakeSource = Callable[..., XenSource]


@pytest.fixture
def start_pool(tmp_path: Path) -> Iterator[StartPool]:
    """Start a pool with the given machines."""
    with ExitStack() as stack:

        def start(*machines: MachineSpec, **others: object) -> XapiSimulator:
            return stack.enter_context(XapiSimulator(tmp_path / "pool", machines, **others))  # type: ignore[arg-type]

        yield start


@pytest.fixture
def pool(start_pool: StartPool) -> XapiSimulator:
    """A pool with its usual machines."""
    return start_pool(*DEFAULT_MACHINES)


@pytest.fixture
def source_of(tmp_path: Path) -> Iterator[MakeSource]:
    """Make sources on a pool that are closed in the end, hardly pause, and read files where NBD would be."""
    with ExitStack() as stack:

        def make(
            pool: XapiSimulator, *, sleep: Callable[[float], None] = lambda _: None, **others: object
        ) -> XenSource:
            def read(choice: TransportChoice, access: VdiAccess) -> BlockReader:
                return _file_reader(pool, choice, access)

            told = pool.settings(**others)
            source = XenSource("pool", told, tmp_path / "run", patience=QUICK, sleep=sleep, open_reader=read)
            stack.callback(source.close)
            return source

        yield make


@pytest.fixture
def source(pool: XapiSimulator, source_of: MakeSource) -> XenSource:
    """A source on the usual pool."""
    return source_of(pool)


def _file_reader(pool: XapiSimulator, choice: TransportChoice, access: VdiAccess) -> BlockReader:
    (vdi,) = pool.records.find("VDI", uuid=access.uuid)
    path = pool.disks.path(vdi)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return RawReader(path, descriptor, access.size_bytes, choice.kind)
    finally:
        os.close(descriptor)

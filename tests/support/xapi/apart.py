"""The simulated pool with NBD in a process of its own, so that its time is told apart from that of whom it serves."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from tests.support.vsphere.busy import BusyClock
from tests.support.xapi import server
from tests.support.xapi.building import MachineSpec
from tests.support.xapi.data import nbd_hosts
from tests.support.xapi.simulator import XapiSimulator

Prepare = Callable[[XapiSimulator], None]


@dataclass(frozen=True)
class Apart:
    """Where the pool is and whom it lets in."""

    host: str
    port: int
    user: str
    password: str
    ca_file: Path


class Running:
    """The process: `address` says where it is."""

    def __init__(self, ours: Connection) -> None:
        self.address: Apart = ours.recv()
        self._ours = ours

    def busy_seconds(self) -> float:
        """How long it has been at calls of its clients; what it does for NBD is not in it."""
        self._ours.send("busy")
        return float(self._ours.recv())


@contextmanager
def pool_apart(directory: Path, machines: Sequence[MachineSpec], prepare: Prepare) -> Iterator[Running]:
    """Run it for the length of the block, after `prepare` (a function of a module) did what guests do."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, directory, tuple(machines), prepare))
    process.start()
    theirs.close()
    try:
        yield Running(ours)
    finally:
        ours.close()  # the process ends with its end of the pipe
        process.join()


def _serve(whoever: Connection, directory: Path, machines: Sequence[MachineSpec], prepare: Prepare) -> None:
    clock = BusyClock()
    _count(clock)
    with XapiSimulator(directory / "pool", machines) as pool, nbd_hosts(pool, directory / "nbd"):
        prepare(pool)
        whoever.send(Apart(pool.host, pool.port, pool.user, pool.password, pool.ca_file))
        with suppress(EOFError):
            while whoever.recv():
                whoever.send(clock.seconds)


def _count(clock: BusyClock) -> None:
    """Count calls from when their head was read until their answers were sent."""
    inner = server._Handler.do_POST

    def answer(handler: server._Handler) -> None:
        with clock.working():
            inner(handler)

    server._Handler.do_POST = answer  # type: ignore[method-assign]

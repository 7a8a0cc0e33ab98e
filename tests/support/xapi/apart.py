"""The simulated pool with NBD in a process of its own. It is busy at calls; what it does for NBD is not counted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from multiprocessing.connection import Connection
from pathlib import Path

from tests.support.apart import Running, answer, apart
from tests.support.vsphere.busy import BusyClock
from tests.support.xapi import server
from tests.support.xapi.building import MachineSpec
from tests.support.xapi.data import nbd_hosts
from tests.support.xapi.simulator import XapiSimulator

Prepare = Callable[[XapiSimulator], None]


def pool_apart(directory: Path, machines: Sequence[MachineSpec], prepare: Prepare) -> AbstractContextManager[Running]:
    """Run it for the length of the block, after `prepare` (a function of a module) did what guests do."""
    return apart(_serve, directory, tuple(machines), prepare)


def _serve(whoever: Connection, directory: Path, machines: Sequence[MachineSpec], prepare: Prepare) -> None:
    clock = BusyClock()
    _count(clock)
    with XapiSimulator(directory / "pool", machines) as pool, nbd_hosts(pool, directory / "nbd"):
        prepare(pool)
        answer(whoever, pool, lambda: clock.seconds)


def _count(clock: BusyClock) -> None:
    """Count calls from when their head was read until their answers were sent."""
    inner = server._Handler.do_POST

    def counted(handler: server._Handler) -> None:
        with clock.working():
            inner(handler)

    server._Handler.do_POST = counted  # type: ignore[method-assign]

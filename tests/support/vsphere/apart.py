"""The vSphere simulator in a process of its own, so that its time is told apart from that of whom it serves."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from tests.support.vsphere.building import MachineSpec
from tests.support.vsphere.simulator import VsphereSimulator

Prepare = Callable[[VsphereSimulator], None]


@dataclass(frozen=True)
class Apart:
    """Where the simulator is and whom it lets in."""

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
        """How long it has been at work for its clients."""
        self._ours.send("busy")
        return float(self._ours.recv())


@contextmanager
def vsphere_apart(directory: Path, machines: Sequence[MachineSpec], prepare: Prepare) -> Iterator[Running]:
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
    with VsphereSimulator(directory, machines) as simulator:
        prepare(simulator)
        whoever.send(Apart(simulator.host, simulator.port, simulator.user, simulator.password, simulator.ca_file))
        with suppress(EOFError):
            while whoever.recv():
                whoever.send(simulator.busy_seconds)

"""The vSphere simulator in a process of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from multiprocessing.connection import Connection
from pathlib import Path

from tests.support.apart import Running, answer, apart
from tests.support.vsphere.building import MachineSpec
from tests.support.vsphere.simulator import VsphereSimulator

Prepare = Callable[[VsphereSimulator], None]


def vsphere_apart(
    directory: Path, machines: Sequence[MachineSpec], prepare: Prepare
) -> AbstractContextManager[Running]:
    """Run it for the length of the block, after `prepare` (a function of a module) did what guests do."""
    return apart(_serve, directory, tuple(machines), prepare)


def _serve(whoever: Connection, directory: Path, machines: Sequence[MachineSpec], prepare: Prepare) -> None:
    with VsphereSimulator(directory, machines) as simulator:
        prepare(simulator)
        answer(whoever, simulator, lambda: simulator.busy_seconds)

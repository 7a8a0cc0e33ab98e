"""Runs a simulator in a process of its own, so that its time is told apart from that of whom it serves."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class Address:
    """Where the simulator is and whom it lets in."""

    host: str
    port: int
    user: str
    password: str
    ca_file: Path


class Addressed(Protocol):
    """A simulator that says where it is."""

    host: str
    port: int
    user: str
    password: str
    ca_file: Path


class Running:
    """The process: `address` says where it is."""

    def __init__(self, ours: Connection) -> None:
        self.address: Address = ours.recv()
        self._ours = ours

    def busy_seconds(self) -> float:
        """How long it has been at work for its clients."""
        self._ours.send("busy")
        return float(self._ours.recv())


@contextmanager
def apart(serve: Callable[..., None], *arguments: object) -> Iterator[Running]:
    """Run `serve` (a function of a module) with a pipe to us and `arguments` for the length of the block."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs, *arguments))
    process.start()
    theirs.close()
    try:
        yield Running(ours)
    finally:
        ours.close()  # the process ends with its end of the pipe
        process.join()


def answer(whoever: Connection, simulator: Addressed, busy_seconds: Callable[[], float]) -> None:
    """In that process: say where the simulator is, then how busy it was whenever that is asked, until we are gone."""
    whoever.send(Address(simulator.host, simulator.port, simulator.user, simulator.password, simulator.ca_file))
    with suppress(EOFError):
        while whoever.recv():
            whoever.send(busy_seconds())

"""The simulated pool with NBD in a process of its own, so that its time is told apart from that of whom it serves."""

from __future__ import annotations

import multiprocessing
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from tests.support.vsphere.busy import BusyClock
from tests.support.xapi import data, server
from tests.support.xapi.building import MachineSpec
from tests.support.xapi.nbd_proxy import NbdProxy
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
        """How long it has been at calls or NBD requests of its clients."""
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


class _TimedProxy(NbdProxy):
    """Counts from when a request goes to nbdkit until something comes back; one request at a time on a connection."""

    clock: BusyClock

    def _pump(self, source: socket.socket, target: socket.socket, to_client: bool) -> None:
        connection = frozenset((source.fileno(), target.fileno()))
        counted = _Counted(
            target, lambda sent: self._note(connection, begins=not sent and not to_client, ends=sent and to_client)
        )
        super()._pump(source, counted, to_client)  # type: ignore[arg-type]
        self._note(connection, begins=False, ends=True)

    def _note(self, connection: frozenset[int], *, begins: bool, ends: bool) -> None:
        with self._lock:
            working = self.__dict__.setdefault("working", {})
            if begins and connection not in working:
                working[connection] = self.clock.working()
                working[connection].__enter__()
            elif ends and connection in working:
                working.pop(connection).__exit__(None, None, None)


class _Counted:
    """A socket that tells before and after it sends."""

    def __init__(self, inner: socket.socket, note: Callable[[bool], None]) -> None:
        self._inner = inner
        self._note = note

    def sendall(self, data: memoryview) -> None:
        self._note(False)
        self._inner.sendall(data)
        self._note(True)

    def shutdown(self, how: int) -> None:
        self._inner.shutdown(how)


def _serve(whoever: Connection, directory: Path, machines: Sequence[MachineSpec], prepare: Prepare) -> None:
    clock = BusyClock()
    _count(clock)
    _TimedProxy.clock = clock
    data.NbdProxy = _TimedProxy  # type: ignore[misc]
    with XapiSimulator(directory / "pool", machines) as pool, data.nbd_hosts(pool, directory / "nbd"):
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

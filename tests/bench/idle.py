"""Backups of a machine with large, almost empty disks on which nothing changes, on a simulator in its own process.

Our own time is the wall time of `back_up` in a running process without that in which the simulator was at work for us.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ingest.wiring import Services
from tests.support.apart import Running
from tests.support.bench_home import back_up, repository, seconds

MIB, TIB = 1 << 20, 1 << 40
DISKS = 4
PLACES = 16
_ROUNDS = 5
_VARIABLE = "HOLDFAST_BENCH_PASSWORD"


class Written(Protocol):
    """A simulator whose machines write."""

    def write(self, machine: str, disk: int, offset: int, data: bytes, /) -> None:
        """Write as the guest would."""


@dataclass(frozen=True)
class Idle:
    """Seconds of the first full, and of an incremental of nothing: wall, ours, CPU (medians)."""

    first: float
    wall: float
    ours: float
    work: float


def write_some(simulator: Written) -> None:
    """Give each disk of the machine `large` some data, spread over it."""
    for disk in range(DISKS):
        for place in range(PLACES):
            simulator.write("large", disk, place * (TIB // PLACES), os.urandom(MIB))


@contextmanager
def repository_on(running: Running, home: Path, kind: str) -> Iterator[Services]:
    """A repository whose source is the simulator."""
    there = running.address
    os.environ[_VARIABLE] = there.password
    settings = {"host": there.host, "port": str(there.port), "user": there.user}
    trust = {"password": f"env:{_VARIABLE}", "ca": str(there.ca_file)}
    with repository(home, kind, **settings, **trust) as services:
        yield services


def measured(services: Services, running: Running) -> Idle:
    """Back up in full, then again and again."""
    first = seconds(lambda: back_up(services))
    again = [_once(services, running) for _ in range(_ROUNDS)]
    return Idle(first, *(statistics.median(column) for column in zip(*again, strict=True)))


def _once(services: Services, running: Running) -> tuple[float, float, float]:
    """One incremental, which must be one."""
    served, began, worked = running.busy_seconds(), time.perf_counter(), time.process_time()
    report = back_up(services)
    wall, work = time.perf_counter() - began, time.process_time() - worked
    if [(disk.level, disk.changed_bytes) for disk in report.disks] != [("incremental", 0)] * DISKS:
        raise AssertionError("that was no incremental of nothing")
    return wall, wall - (running.busy_seconds() - served), work

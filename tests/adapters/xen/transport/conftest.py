"""A pool's stand-in with one VDI, and real nbdkit behind a proxy that serves it as a host would."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from adapters.xen.transport.nbdread import NbdRead, Patience
from tests.support.xapi.nbd_proxy import NbdProxy
from tests.support.xen_pool import PoolStandIn

MIB = 1 << 20
UUID = "5d1c5c5e-7f0e-4a5e-9a0b-3d9f3c1a2b4c"
DISK = random.Random(3).randbytes(3 * MIB) + bytes(4 * MIB) + random.Random(4).randbytes(MIB)


class NoWait:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.sleeps: list[float] = []

    def clock(self) -> float:
        """Seconds."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Pass the time at once."""
        self.now += seconds
        self.sleeps.append(seconds)


@dataclass
class Lab:
    """A pool, its one host, and what is told of it: `info` may be changed by a test."""

    pool: PoolStandIn
    proxy: NbdProxy
    runtime_dir: Path
    time: NoWait
    info: Callable[[str, str], list[dict[str, Any]]]
    readers: list[NbdRead]

    def read(self, *, secure: bool = True, turn_seconds: float = 50, **changes: Any) -> NbdRead:
        """Open a reader that waits in no time."""
        patience = Patience(60, turn_seconds, clock=self.time.clock, sleep=self.time.sleep)
        access = self.pool.access(UUID, self.runtime_dir, **changes)
        reader = NbdRead(access, secure=secure, patience=patience)
        self.readers.append(reader)
        return reader


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """A VDI's file, with a hole."""
    path = tmp_path / "vdi"
    with open(path, "wb") as file:
        file.write(DISK[: 3 * MIB])
        file.seek(7 * MIB)
        file.write(DISK[7 * MIB :])
    return path


@pytest.fixture
def lab(tmp_path: Path, disk: Path) -> Iterator[Lab]:
    """One host that serves the VDI to the session in force."""
    pool = PoolStandIn(lambda *_: [], vdis={UUID: disk})
    with NbdProxy(tmp_path / "host", pool.served) as proxy:
        made = Lab(
            pool, proxy, tmp_path / "run", NoWait(), lambda uuid, session: [proxy.info(uuid, session)], readers=[]
        )
        pool.servers = lambda uuid, session: made.info(uuid, session)  # noqa: PLW0108 - a test may change it
        yield made
        for reader in made.readers:
            reader.close()

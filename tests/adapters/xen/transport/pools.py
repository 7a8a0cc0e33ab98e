"""A simulated pool with a machine's snapshot, and how its VDI is reached through a real session."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from adapters.xen.session import Session, Timing
from adapters.xen.transport.access import VdiAccess
from tests.support.xapi.building import DiskSpec, MachineSpec
from tests.support.xapi.data import serve_streams
from tests.support.xapi.simulator import XapiSimulator

MIB = 1 << 20
SIZE = 11 * MIB
"""No whole number of a VHD's blocks."""


class PoolLab:
    """`pool` with the machine web, and a `session` at it."""

    def __init__(self, pool: XapiSimulator, session: Session, runtime_dir: Path) -> None:
        self.pool = pool
        self.session = session
        self.runtime_dir = runtime_dir
        pool.write("web", 0, 0, random.Random(1).randbytes(3 * MIB))
        pool.write("web", 0, 7 * MIB + 512, random.Random(2).randbytes(MIB))
        pool.write("web", 0, SIZE - 4096, random.Random(3).randbytes(4096))

    def snapshot(self) -> str:
        """Freeze the disk; return the snapshot's reference."""
        return str(self.session.call("VDI.snapshot", self.pool.vdi("web"), {}))

    def access(self, vdi: str, **changes: Any) -> VdiAccess:
        """How to reach a VDI, by its reference."""
        record = self.session.call("VDI.get_record", vdi)
        settings: dict[str, Any] = {
            "pool": self.session,
            "uuid": record["uuid"],
            "label": "xvda of web",
            "size_bytes": record["virtual_size"],
            "host": self.pool.host,
            "hosts": frozenset(self.pool.addresses),
            "port": self.pool.port,
            "runtime_dir": self.runtime_dir,
        }
        return VdiAccess(**(settings | changes))

    def content(self, vdi: str) -> bytes:
        """The bytes of a VDI."""
        return self.pool.disks.content(vdi)

    def session_ids(self) -> list[str]:
        """All sessions there are: none may be shown."""
        return list(self.pool.records.find("session"))


@contextmanager
def pool_lab(folder: Path, **options: Any) -> Iterator[PoolLab]:
    """Run a pool with one machine of one disk, which serves streams."""
    sr = options.pop("sr", "local")
    machine = MachineSpec("web", disks=(DiskSpec(SIZE, sr=sr),))
    with XapiSimulator(folder / "pool", [machine], **options) as pool:
        serve_streams(pool)
        session = Session(pool.settings(), Timing(call_seconds=20, event_seconds=2, search_pause_seconds=0.1))
        try:
            yield PoolLab(pool, session, folder / "run")
        finally:
            session.close()

"""A whole simulated pool: XenAPI on loopback, and before the same disks real nbdkit over TLS behind a proxy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.support.xapi.building import MachineSpec
from tests.support.xapi.nbd_proxy import NbdProxy
from tests.support.xapi.simulator import DEFAULT_MACHINES, XapiSimulator
from tests.support.xapi.world import NbdServer


class NbdHost:
    """The NBD service of a pool's host; `proxy` breaks it."""

    def __init__(self, pool: XapiSimulator, folder: Path) -> None:
        self._pool = pool
        self.proxy = NbdProxy(folder, self._file)

    def serve(self) -> None:
        """Have the pool tell of it, as it is now."""
        proxy = self.proxy
        for host in range(len(self._pool.addresses)):
            self._pool.serve_nbd(NbdServer(proxy.port, proxy.certificate, proxy.subject), host=host)

    def _file(self, uuid: str, session: str) -> Path | None:
        """The file of a disk, for whoever has a live session."""
        records = self._pool.records
        with records.lock:
            found = records.find("VDI", uuid=uuid)
            return self._pool.disks.path(found[0]) if found and records.exists("session", session) else None


@contextmanager
def pool_with_nbd(
    directory: Path, machines: Sequence[MachineSpec] = DEFAULT_MACHINES, *, hosts: int = 1
) -> Iterator[tuple[XapiSimulator, NbdHost]]:
    """Run both for the length of the block."""
    with XapiSimulator(directory / "pool", machines, hosts=hosts) as pool:
        nbd = NbdHost(pool, directory / "nbd")
        with nbd.proxy:
            nbd.serve()
            yield pool, nbd

"""A restore point as a read-only NBD disk, from which a machine can boot while nothing was restored yet.

Imports `adapters.nbd`. It serves on a unix socket or on loopback only: NBD asks nobody who they are.
"""

from __future__ import annotations

import ipaddress
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from adapters.nbd import NbdServer, TcpAddress, UnixAddress, parse_address
from catalog.domain.events import ExportStarted, ExportStopped
from catalog.domain.facts import DiskPoint
from catalog.domain.machine import RestorePoint
from catalog.resolve.resolver import Resolver
from ingest.pointdisk import PointDisk
from ingest.streams import StreamWriter
from ingest.wiring import Services
from storage.errors import Denied


def local_address(text: str) -> UnixAddress | TcpAddress:
    """Read `unix:PATH` or `HOST:PORT`. Raises SourceInvalid; Denied for a host that is not this one."""
    address = parse_address(text)
    if isinstance(address, TcpAddress) and not _is_loopback(address.host):
        raise Denied(
            f"NBD on {address.host} would be open to everybody who reaches it",
            code="nbd-not-loopback",
            why="the protocol has no sign-on",
            hint="serve on 127.0.0.1 or unix:PATH and forward it, with ssh -L say",
        )
    return address


def uri_of(address: UnixAddress | TcpAddress) -> str:
    """The address as NBD clients take it."""
    if isinstance(address, UnixAddress):
        return f"nbd+unix:///?socket={address.path}"
    return f"nbd://{address}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@contextmanager
def export_disk(
    services: Services, point: RestorePoint, disk: DiskPoint, resolver: Resolver, address: UnixAddress | TcpAddress
) -> Iterator[NbdServer]:
    """Serve a disk of a restore point for the length of the block, and record that it was."""
    served = PointDisk(resolver, services.store, disk)
    server = NbdServer(served, address)
    task = StreamWriter(services.log, services.new_id(), services.clock)
    about = {"machine_id": point.machine_id, "restore_point_id": point.restore_point_id, "disk_id": disk.disk_id}
    server.start()
    task.append(ExportStarted, **about, address=str(server.address))
    try:
        yield server
    finally:
        server.stop()
        task.append(ExportStopped, **about, read_bytes=server.served_bytes)


@contextmanager
def serving(disk: PointDisk) -> Iterator[Path]:
    """Serve a disk on a private socket for the length of the block."""
    with tempfile.TemporaryDirectory(prefix="holdfast-") as directory:
        socket = Path(directory) / "s"
        server = NbdServer(disk, UnixAddress(socket))
        server.start()
        try:
            yield socket
        finally:
            server.stop()

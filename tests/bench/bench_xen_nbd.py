"""Measures reads of a VDI by the xen source's NBD reader over TLS against nbdcopy, at one real nbdkit.

Run with `python -m tests.bench xen_nbd`; figures are medians of interleaved rounds over loopback. The reader does all
that it does at a pool: the certificate is pinned, connections are counted across processes.
"""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from adapters.xen.transport.access import VdiAccess
from adapters.xen.transport.nbdread import NbdRead
from tests.bench.figures import Figure, figure, rates
from tests.support.certificates import Authority
from tests.support.nbd_peers import nbdkit
from tests.support.xen_pool import PoolStandIn

MIB = 1 << 20
DATA_BYTES = 1024 * MIB
READ_BYTES = 2 * MIB  # as a backup reads
THREADS = 3
ROUNDS = 7
PEER_CONNECTIONS = 4


def run() -> list[Figure]:
    """Measure both clients at one server."""
    with tempfile.TemporaryDirectory(prefix="xen-nbd-") as name:
        folder = Path(name)
        authority = Authority(folder / "tls")
        certificate = authority.issue("server", ["localhost", "127.0.0.1"]).read_text()
        data = folder / "data"
        piece = os.urandom(MIB)
        with open(data, "wb") as file:
            file.writelines(piece for _ in range(DATA_BYTES // MIB))
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        tls = ("--tls=require", f"--tls-certificates={authority.folder}")
        record = {"exportname": "", "address": "127.0.0.1", "port": port, "cert": certificate, "subject": "localhost"}
        access = PoolStandIn(lambda *_: [record], vdis={"vdi": data}).access("vdi", folder)
        with nbdkit(folder, *tls, "file", str(data), port=port):
            peer, ours, small = rates(
                DATA_BYTES,
                ROUNDS,
                lambda: _nbdcopy(port, authority.folder),
                lambda: _read(access, READ_BYTES),
                lambda: _read(access, READ_BYTES // 8),
            )
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return [
        figure("xen NBD over TLS, 2 MiB reads in 3 threads", ours, "GB/s"),
        figure("xen NBD over TLS, 256 KiB reads in 3 threads", small, "GB/s"),
        figure("xen NBD over TLS / nbdcopy with 4 connections", ours / peer, "ratio", ">= 0.6"),
        figure("peak memory of the xen NBD reader over 1 GiB", peak, "MiB", "<= 256"),
    ]


def _nbdcopy(port: int, certificates: Path) -> None:
    address = f"nbds://localhost:{port}/?tls-certificates={certificates}"
    subprocess.run(["nbdcopy", f"--connections={PEER_CONNECTIONS}", address, "null:"], check=True)


def _read(access: VdiAccess, read_bytes: int) -> None:
    """Read the whole disk in threads that share the reader, as a backup does."""
    reader = NbdRead(access)

    def part(number: int) -> None:
        buffer = memoryview(bytearray(read_bytes))
        for offset in range(number * read_bytes, DATA_BYTES, THREADS * read_bytes):
            reader.pread_into(offset, buffer)

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(part, range(THREADS)))
    reader.close()

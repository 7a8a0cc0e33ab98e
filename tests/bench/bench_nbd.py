"""Measures our NBD client against nbdcopy on one server, and our NBD server against nbdkit's Python plugin.

Run with `python -m tests.bench nbd`; figures are medians of interleaved rounds over unix sockets. Both servers
of a comparison hold the same random bytes in memory and are read by nbdcopy.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from adapters.nbd import NbdClient, NbdServer, UnixAddress
from tests.bench.figures import Figure, figure, rates
from tests.support.nbd_peers import nbdkit, uri

MIB = 1 << 20
DATA_BYTES = 512 * MIB
READ_BYTES = 4 * MIB
ROUNDS = 7

PLUGIN = """
import nbdkit
API_VERSION = 2
blob = memoryview(open({path!r}, "rb").read())
def thread_model(): return nbdkit.THREAD_MODEL_PARALLEL
def open(readonly): return 1
def get_size(h): return len(blob)
def can_multi_conn(h): return True
def pread(h, buf, offset, flags): buf[:] = blob[offset:offset + len(buf)]
"""


class Bytes:
    """A disk that is all data, in memory."""

    def __init__(self, content: bytes) -> None:
        self._content = memoryview(content)
        self.size_bytes = len(content)

    def pread(self, offset: int, length: int) -> memoryview:
        """Return a view of the range."""
        return self._content[offset : offset + length]

    def extents(self, start: int, length: int) -> Iterator[tuple[int, int, bool]]:
        """Yield one extent of data."""
        yield start, length, False


def run() -> list[Figure]:
    """Measure both comparisons."""
    with tempfile.TemporaryDirectory(prefix="nbd-bench-") as name, ExitStack() as running:
        folder = Path(name)
        data = folder / "data"
        data.write_bytes(os.urandom(MIB) * (DATA_BYTES // MIB))
        places = [folder / place for place in ("memory", "python", "ours")]
        for place in places:
            place.mkdir()
        (folder / "plugin.py").write_text(PLUGIN.format(path=str(data)))
        memory = running.enter_context(nbdkit(places[0], "memory", str(DATA_BYTES)))
        subprocess.run(["nbdcopy", data, uri(memory)], check=True)
        plugin = running.enter_context(nbdkit(places[1], "python", str(folder / "plugin.py")))
        ours = NbdServer(Bytes(data.read_bytes()), UnixAddress(places[2] / "s"))
        running.enter_context(ours)
        data.unlink()
        return [*_clients(memory), *_servers(plugin, str(ours.address))]


def _clients(address: str) -> list[Figure]:
    copy, one, two = rates(
        DATA_BYTES,
        ROUNDS,
        lambda: _nbdcopy(address),
        lambda: _read(address, connections=1),
        lambda: _read(address, connections=2),
    )
    return [
        figure("nbd client, 1 thread", one, "GB/s"),
        figure("nbd client, 2 threads, 2 connections", two, "GB/s"),
        figure("nbd client / nbdcopy to null", max(one, two) / copy, "ratio", ">= 1.0"),
    ]


def _servers(plugin: str, ours: str) -> list[Figure]:
    theirs, own = rates(DATA_BYTES, ROUNDS, lambda: _nbdcopy(plugin), lambda: _nbdcopy(ours))
    return [
        figure("nbd server, read by nbdcopy", own, "GB/s"),
        figure("nbd server / nbdkit python plugin", own / theirs, "ratio", ">= 1.0"),
    ]


def _nbdcopy(address: str) -> None:
    subprocess.run(["nbdcopy", uri(address), "null:"], check=True)


def _read(address: str, connections: int) -> None:
    """Read the whole export with as many threads as connections."""
    client = NbdClient(address, connections=connections)
    share = DATA_BYTES // connections

    def part(first: int) -> None:
        buffer = memoryview(bytearray(READ_BYTES))
        for offset in range(first, first + share, READ_BYTES):
            client.pread_into(offset, buffer)

    with ThreadPoolExecutor(connections) as pool:
        list(pool.map(part, range(0, DATA_BYTES, share)))
    client.close()

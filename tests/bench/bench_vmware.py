"""Measures the VMware transports against plain clients of the same servers, in the same run.

Run with `python -m tests.bench vmware`; figures are medians of interleaved rounds. `/folder` is served by the
third-party vcsim over TLS, and read by a plain http.client loop and by ours, 1 MiB a range. NBD is nbdkit's file
plugin, read by nbdcopy and by our reader. The export comes from a server in this process:
its rate is a lower bound.
"""

from __future__ import annotations

import http.client
import os
import shutil
import ssl
import subprocess
import tempfile
from contextlib import ExitStack
from pathlib import Path

from pyVim.connect import Disconnect, SmartConnect

from adapters.nbd.child import NbdChild
from adapters.vmware.transport.access import DiskAccess
from adapters.vmware.transport.childreader import ChildReader
from adapters.vmware.transport.export import ExportReader
from adapters.vmware.transport.folder import FolderReader, folder_target
from adapters.vmware.transport.limits import HostConnections
from adapters.vmware.transport.ranges import HttpsServer
from adapters.vmware.trust import trust_context
from tests.bench.figures import Figure, figure, rates
from tests.support.folder_server import FolderServer
from tests.support.mixed_data import make_data
from tests.support.nfc_lease_simulator import NfcLease
from tests.support.stream_vmdk import stream_vmdk
from tests.support.vcsim_process import PASSWORD, Vcsim, running_vcsim
from tests.support.vmware_access import disk_access

MIB = 1 << 20
DATA_BYTES = 256 * MIB
EXPORT_BYTES = 128 * MIB
READ_BYTES = MIB
ROUNDS = 5
NAME = "DC0_H0_VM0/bench-flat.vmdk"
DATASTORE = "LocalDS_0"


def run() -> list[Figure]:
    """Measure all three."""
    with tempfile.TemporaryDirectory(prefix="vmware-bench-") as name:
        folder = Path(name)
        return [*_folder(folder), *_nbd(folder), *_export(folder)]


def _folder(folder: Path) -> list[Figure]:
    with running_vcsim(folder) as vcsim, ExitStack() as open_ones:
        trust = trust_context(vcsim.settings())
        session = SmartConnect(host=vcsim.host, port=vcsim.port, user="user", pwd=PASSWORD, sslContext=trust)
        open_ones.callback(Disconnect, session)
        cookie = session._stub.cookie.split("=", 1)[1].split(";")[0].strip('"')
        content = os.urandom(8 * MIB) * (DATA_BYTES // (8 * MIB))
        plain = _connection(vcsim, trust)
        open_ones.callback(plain.close)
        plain.request("PUT", folder_target(DATASTORE, NAME, "DC0"), content)
        assert plain.getresponse().read() is not None
        server = HttpsServer(vcsim.host, vcsim.port, trust, lambda: cookie)
        reader = FolderReader(server, DATASTORE, NAME, "DC0", DATA_BYTES, HostConnections("bench"))
        open_ones.callback(reader.close)
        theirs, ours = rates(DATA_BYTES, ROUNDS, lambda: _plain(plain), lambda: _read(reader))
    return [
        figure("vmware /folder reader", ours, "GB/s"),
        figure("vmware /folder reader / plain http.client", ours / theirs, "ratio", ">= 0.8"),
    ]


def _connection(vcsim: Vcsim, trust: ssl.SSLContext) -> http.client.HTTPSConnection:
    return http.client.HTTPSConnection(vcsim.host, vcsim.port, context=trust)


def _plain(connection: http.client.HTTPSConnection) -> None:
    """Read the file as a script would."""
    for offset in range(0, DATA_BYTES, READ_BYTES):
        headers = {"Range": f"bytes={offset}-{offset + READ_BYTES - 1}"}
        connection.request("GET", folder_target(DATASTORE, NAME, "DC0"), headers=headers)
        assert len(connection.getresponse().read()) == READ_BYTES


def _nbd(folder: Path) -> list[Figure]:
    if shutil.which("nbdkit") is None or shutil.which("nbdcopy") is None:
        raise RuntimeError("the benchmark needs nbdkit and nbdcopy")
    disk = folder / "disk"
    disk.write_bytes(os.urandom(MIB) * (DATA_BYTES // MIB))
    child = NbdChild(folder / "run", "nbdkit-", {"label": "bench"})
    with ExitStack() as held:
        held.callback(child.close)
        command = ["nbdkit", "-f", "-r", f"--unix={child.socket}", child.pid_option, "file", str(disk)]
        child.start(command)
        reader = ChildReader(child.connect(depth=4), DATA_BYTES, "nbdssl", "bench", held.pop_all())
        copy = ["nbdcopy", f"nbd+unix:///?socket={child.socket}", "null:"]
        theirs, ours = rates(DATA_BYTES, ROUNDS, lambda: _run(copy), lambda: _read(reader, 4 * MIB))
        reader.close()
    return [
        figure("vmware nbdkit reader", ours, "GB/s"),
        figure("vmware nbdkit reader / nbdcopy", ours / theirs, "ratio", ">= 0.8"),
    ]


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True)


def _export(folder: Path) -> list[Figure]:
    make_data(folder / "raw", EXPORT_BYTES)
    target = "/nfc/bench/disk-0.vmdk"
    with FolderServer(folder / "certificates") as server:
        server.files[target] = stream_vmdk((folder / "raw").read_bytes())
        url = f"https://*:{server.port}{target}"
        access = disk_access(
            folder / "spool",
            port=server.port,
            ssl_context=server.trust(),
            cookie=lambda: server.cookie,
            size_bytes=EXPORT_BYTES,
            export_lease=lambda: NfcLease({"disk": url}),
        )
        (rate,) = rates(EXPORT_BYTES, ROUNDS, lambda: _exported(access))
    return [figure("vmware export, decoded and read back", rate, "GB/s")]


def _exported(access: DiskAccess) -> None:
    reader = ExportReader(access)
    buffer = memoryview(bytearray(32 * MIB))
    for extent in reader.extents():
        if not extent.zero:
            reader.pread_into(extent.start, buffer[: extent.length])
    reader.close()


def _read(reader: FolderReader | ChildReader, piece: int = READ_BYTES) -> None:
    buffer = memoryview(bytearray(piece))
    for offset in range(0, DATA_BYTES, piece):
        reader.pread_into(offset, buffer)

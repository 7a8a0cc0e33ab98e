"""The transports that need no VDDK, against a third party's vCenter simulator."""

from __future__ import annotations

import http.client
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pyVim.connect import Disconnect, SmartConnect
from pyVim.task import WaitForTask
from pyVmomi import vim, vmodl

from adapters.errors import SourceCorrupt, SourceNotFound
from adapters.port import BlockReader, TransportChoice
from adapters.vmware.transport.access import DiskAccess
from adapters.vmware.transport.folder import folder_target
from adapters.vmware.transport.opening import open_reader
from adapters.vmware.trust import trust_context
from tests.support.stream_vmdk import stream_vmdk
from tests.support.vcsim_process import PASSWORD, Vcsim, running_vcsim
from tests.support.vmware_access import disk_access

MIB = 1 << 20
DISK = random.Random(9).randbytes(2 * MIB) + bytes(2 * MIB) + random.Random(10).randbytes(MIB)


class Place:
    """A machine's first disk at vcsim, and files beside it."""

    def __init__(self, vcsim: Vcsim) -> None:
        self.vcsim = vcsim
        self.trust = trust_context(vcsim.settings())
        self.session = SmartConnect(host=vcsim.host, port=vcsim.port, user="user", pwd=PASSWORD, sslContext=self.trust)
        view = self.session.content.viewManager.CreateContainerView(
            self.session.content.rootFolder, [vim.VirtualMachine], True
        )
        self.machine = view.view[0]
        (disk,) = [
            found for found in self.machine.config.hardware.device if isinstance(found, vim.vm.device.VirtualDisk)
        ]
        self.datastore, _, self.path = disk.backing.fileName.removeprefix("[").partition("] ")
        self.cookie = self.session._stub.cookie.split("=", 1)[1].split(";")[0].strip('"')

    def put(self, path: str, content: bytes) -> None:
        """Upload a file into the datastore."""
        connection = http.client.HTTPSConnection(self.vcsim.host, self.vcsim.port, context=self.trust)
        headers = {"Cookie": f"vmware_soap_session={self.cookie}"}
        connection.request("PUT", folder_target(self.datastore, path, "DC0"), content, headers)
        assert connection.getresponse().status in {200, 201}
        connection.close()

    def access(self, runtime_dir: Path, **changes: Any) -> DiskAccess:
        """Return the access to the disk."""
        settings = {
            "host": self.vcsim.host,
            "port": self.vcsim.port,
            "ssl_context": self.trust,
            "cookie": lambda: self.cookie,
            "datastore": self.datastore,
            "datacenter_path": "DC0",
            "path": self.path,
            "size_bytes": len(DISK),
        }
        return disk_access(runtime_dir, **(settings | changes))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A running vcsim and a session."""
    with running_vcsim(tmp_path_factory.mktemp("vcsim")) as vcsim:
        found = Place(vcsim)
        yield found
        Disconnect(found.session)


def content(reader: BlockReader) -> bytes:
    """Read whole, in uneven pieces, and close."""
    buffer = bytearray(reader.size_bytes)
    for at in range(0, reader.size_bytes, 700_001):
        reader.pread_into(at, memoryview(buffer)[at : at + 700_001])
    reader.close()
    return bytes(buffer)


def test_a_flat_file_is_read_by_ranges(place: Place, tmp_path: Path) -> None:
    """A file with a difficult name comes back as it was uploaded; a shorter one, or none, is refused."""
    name = f"{Path(place.path).parent}/web 01 & #2-flat.vmdk"
    place.put(name, DISK)
    choice = TransportChoice("http_folder", None, ())
    assert content(open_reader(choice, place.access(tmp_path, flat_path=name))) == DISK
    with pytest.raises(SourceCorrupt, match="ends before the disk"):
        open_reader(choice, place.access(tmp_path, flat_path=name, size_bytes=len(DISK) + 512))
    with pytest.raises(SourceNotFound):
        open_reader(choice, place.access(tmp_path, flat_path="none/none-flat.vmdk"))


def test_a_snapshot_is_exported(place: Place, tmp_path: Path) -> None:
    """A lease on a snapshot leads to the stream that the server holds, and is completed.

    This server sends the file as it is, so that a stream is put there first.
    """
    place.put(place.path, stream_vmdk(DISK))
    WaitForTask(place.machine.CreateSnapshot_Task(name="holdfast", memory=False, quiesce=False))
    snapshot = place.machine.snapshot.currentSnapshot
    leases: list[Any] = []

    def lease() -> Any:
        leases.append(snapshot.ExportSnapshot())
        return leases[-1]

    reader = open_reader(TransportChoice("export", None, ()), place.access(tmp_path, export_lease=lease))
    assert [(extent.length, extent.zero) for extent in reader.extents()] == [
        (2 * MIB, False),
        (2 * MIB, True),
        (MIB, False),
    ]
    assert content(reader) == DISK
    with pytest.raises(vmodl.fault.ManagedObjectNotFound):
        leases[0].HttpNfcLeaseProgress(1)  # it is over

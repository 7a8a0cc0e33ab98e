"""A simulator of vCenter for tests: vSphere's SOAP over TLS on loopback, over disks that a real QEMU writes.

It simulates what our side of the protocol meets; it proves nothing about ESXi. Everything lives below one directory
and ends with the context manager.
"""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Sequence
from pathlib import Path
from threading import Thread
from types import TracebackType

from pyVmomi import vim

from tests.support.certificates import Authority, fingerprint
from tests.support.vsphere.building import MachineFolder, MachineSpec
from tests.support.vsphere.connections import Connections
from tests.support.vsphere.datastore import Datastore
from tests.support.vsphere.devices import AttachedDisk, DiskSpec
from tests.support.vsphere.engine import DiskEngine
from tests.support.vsphere.faults import Faults
from tests.support.vsphere.files import FileManager, VirtualDiskManager
from tests.support.vsphere.inventory import ROOT_MOID, Datacenter, Folder
from tests.support.vsphere.machines import Machine
from tests.support.vsphere.managed import World
from tests.support.vsphere.reconfigure import attach, grow, remove_disk
from tests.support.vsphere.server import Server
from tests.support.vsphere.service import SearchIndex, ServiceInstance, ViewManager
from tests.support.vsphere.sessions import Sessions
from tests.support.vsphere.tasks import Task

DEFAULT_MACHINES = (MachineSpec("web"), MachineSpec("db", disks=(DiskSpec(), DiskSpec(4 << 20))))
DATASTORE = "datastore1"


class VsphereSimulator:
    """A vCenter with `machines` for as long as the context lasts; machines are named, disks counted from 0.

    `datastore` is an empty folder for its files, such as one on a file system that can do more than the rest.
    """

    host = "127.0.0.1"
    user = "administrator@vsphere.local"
    password = "correct horse battery staple"

    def __init__(
        self,
        directory: Path,
        machines: Sequence[MachineSpec] = DEFAULT_MACHINES,
        *,
        datastore: Path | None = None,
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.faults = Faults()
        self.engine = DiskEngine(directory)
        self.world = World(self.engine, Datastore(DATASTORE, datastore or directory / "datastore"), self.faults)
        self.sessions = Sessions(self.world, self.user, self.password)
        self._authority = Authority(directory / "certificates")
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._specs = machines
        self._server: Server | None = None
        self._thread: Thread | None = None
        self._folder = self._populate()

    def __enter__(self) -> VsphereSimulator:
        self.engine.start()
        try:
            self._server = Server(self.world, self.sessions, self._context)
            self.world.address = f"{self.host}:{self.port}"
            self.change_certificate()
            for spec in self._specs:
                self.add_machine(spec)
        except BaseException:
            self._end()
            raise
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, name="vsphere")
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        broken = self._server.broken if self._server else []
        self._end()
        if broken and error is None:
            raise AssertionError("The simulator itself went wrong") from broken[0]

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._server is not None
        return int(self._server.server_address[1])

    @property
    def ca_file(self) -> Path:
        """What signed the certificate."""
        return self._authority.ca_file

    @property
    def connections(self) -> Connections:
        """The connections by host, for the cap."""
        assert self._server is not None
        return self._server.connections

    @property
    def busy_seconds(self) -> float:
        """How long it has been at work for its clients."""
        assert self._server is not None
        return self._server.busy.seconds

    @property
    def datastore(self) -> Path:
        """The folder behind the datastore."""
        return self.world.datastore.root

    def change_certificate(self) -> None:
        """Serve another certificate of the same authority from the next connection on; `fingerprint` follows."""
        certificate = self._authority.issue("server", ["localhost", self.host])
        self._context.load_cert_chain(certificate, certificate.with_name("server-key.pem"))
        self.fingerprint = fingerprint(certificate)
        digest = hashlib.sha1(ssl.PEM_cert_to_DER_cert(certificate.read_text()), usedforsecurity=False)
        self.world.thumbprint = ":".join(f"{byte:02X}" for byte in digest.digest())

    @property
    def waiting(self) -> int:
        """How many clients wait for updates now."""
        return self.world.waiting

    def expire_sessions(self) -> None:
        """End all sessions now, whatever they are waiting for."""
        self.sessions.expire()

    # --- machines ---

    def add_machine(self, spec: MachineSpec) -> Machine:
        """Make a machine."""
        with self.world.lock:
            return self._folder.build(spec)

    def machine(self, name: str) -> Machine:
        """The machine of a name."""
        machines = [entry for entry in self.world.every(vim.VirtualMachine) if isinstance(entry, Machine)]
        (found,) = (entry for entry in machines if entry.set.name == name)
        return found

    def slot(self, machine: str, disk_index: int) -> AttachedDisk:
        """A disk of a machine in its slot."""
        return self.machine(machine).disks[disk_index]

    def snapshots(self, machine: str) -> list[str]:
        """The names of a machine's snapshots, from the first on."""
        return [snapshot.name for snapshot in self.machine(machine).snapshots]

    def plant_snapshot(self, machine: str, name: str) -> None:
        """Take a snapshot as somebody else would."""
        with self.world.lock:
            self.machine(machine).freeze(name, "somebody else's")

    def drop_snapshot(self, machine: str, name: str) -> None:
        """Take a snapshot away."""
        with self.world.lock:
            next(snapshot for snapshot in self.machine(machine).snapshots if snapshot.name == name).drop()

    def revert(self, machine: str, name: str) -> None:
        """Go back to a snapshot."""
        with self.world.lock:
            next(snapshot for snapshot in self.machine(machine).snapshots if snapshot.name == name).go_back()

    # --- what a guest and its administrator do ---

    def write(self, machine: str, disk_index: int, offset: int, data: bytes) -> None:
        """Write as the guest would."""
        with self.world.lock:
            self.engine.write(self.slot(machine, disk_index).disk.node, offset, data)

    def discard(self, machine: str, disk_index: int, offset: int, length: int) -> None:
        """Discard as the guest would: the range reads as zeros, and is changed."""
        with self.world.lock:
            self.engine.discard(self.slot(machine, disk_index).disk.node, offset, length)

    def content(self, machine: str, disk_index: int) -> bytes:
        """All bytes of a disk as the guest sees them now."""
        with self.world.lock:
            return self.slot(machine, disk_index).disk.content()

    def grow(self, machine: str, disk_index: int, size_bytes: int) -> None:
        """Grow a disk."""
        with self.world.lock:
            grow(self.machine(machine), self.slot(machine, disk_index), size_bytes)

    def add_disk(self, machine: str, spec: DiskSpec = DiskSpec()) -> int:  # noqa: B008
        """Give a machine another disk; return its key."""
        with self.world.lock:
            return attach(self.machine(machine), spec).key

    def remove_disk(self, machine: str, disk_index: int) -> None:
        """Take a disk from a machine and delete it."""
        with self.world.lock:
            remove_disk(self.machine(machine), self.slot(machine, disk_index), destroy=True)

    def replace_disk(self, machine: str, disk_index: int, *, same_uuid: bool = False) -> None:
        """Put another, empty disk of the same size in a disk's slot and under its file name.

        With `same_uuid` it says that it is the old one, as a disk does that was restored from outside.
        """
        with self.world.lock:
            entry, old = self.machine(machine), self.slot(machine, disk_index)
            remove_disk(entry, old, destroy=True)
            made = attach(entry, old.spec)
            entry.disks.remove(made)
            entry.disks.insert(disk_index, old.holding(made.disk))
            if same_uuid:
                made.disk.take_uuid(old.disk.uuid)
            entry.write_files()

    def storage_vmotion(self, machine: str, folder: str) -> None:
        """Move a machine's disks to another folder of the datastore; it goes on running."""
        target = self.datastore / folder
        with self.world.lock:
            target.mkdir()
            for slot in self.machine(machine).disks:
                slot.disk.move(target)
            self.machine(machine).write_files()

    def reset_tracking(self, machine: str) -> None:
        """Lose the change tracking: it stays switched on, and begins again with the next snapshot."""
        with self.world.lock:
            for slot in self.machine(machine).disks:
                slot.disk.reset_tracking()
            self.world.touch()

    def _populate(self) -> MachineFolder:
        root = Folder(self.world, ROOT_MOID, "Datacenters", None, ["Folder", "Datacenter"])
        datacenter = Datacenter(self.world, root, MachineFolder)
        folder = datacenter.machines
        assert isinstance(folder, MachineFolder)
        folder.hosts = datacenter.hosts
        self.world.add(self.sessions)
        self.world.add(ServiceInstance(self.world))
        singles = [(ViewManager, "ViewManager"), (SearchIndex, "SearchIndex"), (FileManager, "FileManager")]
        for kind, moid in [*singles, (VirtualDiskManager, "virtualDiskManager")]:
            self.world.add(kind(self.world, moid))
        return folder

    def _end(self) -> None:
        try:
            if self._server is not None:
                self._end_server(self._server)
        finally:
            self.engine.end()

    def _end_server(self, server: Server) -> None:
        if self._thread is None:
            server.server_close()
            return
        server.close()
        self._thread.join()
        for task in self.world.every(vim.Task):
            assert isinstance(task, Task)
            task.end()

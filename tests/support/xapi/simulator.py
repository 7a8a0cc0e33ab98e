"""A simulator of a XenServer or XCP-ng pool for tests: XenAPI over TLS on loopback, over disks that are real files.

It simulates what our side of the protocol meets; it proves nothing about xapi. Its hosts have addresses of their own
and one port, as real ones do. Everything lives below one directory and ends with the context manager.
"""

from __future__ import annotations

import errno
import ssl
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from threading import Event
from types import TracebackType
from typing import Any

from adapters.secret import Secret
from adapters.xen.settings import XenSettings
from tests.support.certificates import Authority, fingerprint
from tests.support.xapi import building
from tests.support.xapi.api import Api
from tests.support.xapi.building import DiskSpec, MachineSpec, SrSpec
from tests.support.xapi.disks import Disks
from tests.support.xapi.faults import Faults
from tests.support.xapi.machines import disks_of
from tests.support.xapi.records import Record, Records
from tests.support.xapi.server import HostServer, HttpHandler
from tests.support.xapi.world import NbdServer, World

DEFAULT_MACHINES = (MachineSpec("web"), MachineSpec("db", disks=(DiskSpec(), DiskSpec(8 * building.MIB))))
DEFAULT_SRS = (SrSpec("local"), SrSpec("shared", type="nfs", shared=True))
_TRIES = 50


class XapiSimulator:
    """A pool for as long as the context lasts; machines are named, disks told by their place from 0 on.

    `http` maps a path such as `/export_raw_vdi` to what serves it at every host.
    """

    user = "root"
    password = "correct horse battery staple"

    def __init__(
        self,
        directory: Path,
        machines: Sequence[MachineSpec] = DEFAULT_MACHINES,
        *,
        hosts: int = 1,
        srs: Sequence[SrSpec] = DEFAULT_SRS,
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.addresses = [f"127.0.0.{number + 1}" for number in range(hosts)]
        self.world = World(directory / "disks", self.user, self.password)
        self.http: dict[str, HttpHandler] = {}
        self.certificates: list[Path] = []
        self.port = 0
        self.closing = Event()
        """Set when the pool ends: what keeps silent on purpose waits for it."""
        self._api = Api(self.world, self.closing)
        self._authority = Authority(directory / "certificates", "Pool CA")
        self._contexts = [self._issue(number, address) for number, address in enumerate(self.addresses)]
        self._servers: list[HostServer] = []
        building.build_pool(self.world, self.addresses)
        for sr in srs:
            building.add_sr(self.world, sr)
        for machine in machines:
            building.add_machine(self.world, machine)

    def __enter__(self) -> XapiSimulator:
        self._servers = self._listen()
        self.port = self._servers[0].server_address[1]
        for server, host in zip(self._servers, self.world.hosts, strict=True):
            server.host = host
            server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.closing.set()
        self.world.expire_sessions()
        with self.records.lock:
            self.records.changed.notify_all()
        with ExitStack() as stack:
            stack.callback(self._api.tasks.end)
            for server in self._servers:
                stack.callback(server.stop)
        broken = [wrong for server in self._servers for wrong in server.broken]
        if broken and error is None:
            raise AssertionError("The simulator itself went wrong") from broken[0]

    # --- what a client is told ---

    @property
    def host(self) -> str:
        """The address of the first host."""
        return self.addresses[0]

    @property
    def ca_file(self) -> Path:
        """What signed the hosts' certificates."""
        return self._authority.ca_file

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of the first host's certificate."""
        return fingerprint(self.certificates[0])

    def settings(self, **others: Any) -> XenSettings:
        """How a source reaches the pool."""
        trust = {} if {"fingerprint", "insecure"} & set(others) else {"ca_file": self.ca_file}
        told = {"host": self.host, "port": self.port, "user": self.user, "password": Secret(lambda: self.password)}
        return XenSettings(**{**told, **trust, **others})

    # --- what tests look at ---

    @property
    def records(self) -> Records:
        """The pool's database."""
        return self.world.records

    @property
    def disks(self) -> Disks:
        """The disks' files and logs."""
        return self.world.disks

    @property
    def faults(self) -> Faults:
        """What goes wrong."""
        return self.world.faults

    @property
    def calls(self) -> Counter[str]:
        """How often each method was carried out, answered or not."""
        return self.world.calls

    @property
    def connections(self) -> list[int]:
        """How many connections each host had."""
        return [server.connections for server in self._servers]

    def vm(self, name: str) -> str:
        """A machine's reference; snapshots do not count."""
        (found,) = self.records.find("VM", name_label=name, is_a_snapshot=False)
        return found

    def vdi(self, machine: str, place: int = 0) -> str:
        """The reference of a machine's disk."""
        vbd = disks_of(self.world, self.vm(machine))[str(place)]
        return str(self.records.get("VBD", vbd)["VDI"])

    def record(self, kind: str, ref: str) -> Record:
        """A copy of an object."""
        return self.records.shown(kind, ref)

    def snapshots(self, machine: str) -> list[str]:
        """The names of a machine's snapshots."""
        found = self.records.find("VM", snapshot_of=self.vm(machine))
        return [self.records.get("VM", ref)["name_label"] for ref in found]

    def finish_tasks(self) -> None:
        """Wait until no task is at work."""
        self._api.tasks.end()

    # --- what guests and administrators do ---

    def write(self, machine: str, place: int, offset: int, data: bytes) -> None:
        """Write as the guest would."""
        self.disks.write(self.vdi(machine, place), offset, data)

    def content(self, machine: str, place: int = 0) -> bytes:
        """All bytes of a disk as the guest sees them now."""
        return self.disks.content(self.vdi(machine, place))

    def grow(self, machine: str, place: int, size_bytes: int) -> None:
        """Grow a disk."""
        self.disks.grow(self.vdi(machine, place), size_bytes)

    def add_machine(self, spec: MachineSpec) -> str:
        """Make a machine; return its reference."""
        with self.records.lock:
            return building.add_machine(self.world, spec)

    def add_disk(self, machine: str, spec: DiskSpec, place: int) -> str:
        """Give a machine another disk; return its reference."""
        with self.records.lock:
            running = self.records.get("VM", self.vm(machine))["power_state"] == "Running"
            return building.add_disk(self.world, self.vm(machine), spec, str(place), running)

    def migrate_disk(self, machine: str, place: int, sr: str) -> str:
        """Move a disk as an administrator's tool does: its tracking ends, its uuid changes. Return its reference."""
        with self.records.lock:
            old = self.vdi(machine, place)
            self.disks.track(old, enabled=False)
            (target,) = self.records.find("SR", name_label=sr)
            moved = self.disks.copy(old, target)
            for vbd in self.records.find("VBD", VDI=old):
                self.records.set("VBD", vbd, VDI=moved)
            self.disks.destroy(old)
            return moved

    def attach_to_control_domain(self, vdi: str) -> str:
        """Use a disk as the NBD server of a host does; return the VBD, which goes when it is given back."""
        with self.records.lock:
            dom0 = self.records.get("host", self.world.hosts[0])["control_domain"]
            place = str(len(self.records.find("VBD", VM=dom0)))
            return self.records.create(
                "VBD", VM=dom0, VDI=vdi, userdevice=place, type="Disk", mode="RO", currently_attached=True
            )

    def detach(self, vbd: str) -> None:
        """Give a disk back."""
        self.records.destroy("VBD", vbd)

    def serve_nbd(self, server: NbdServer, *, purpose: str = "nbd", host: int = 0) -> None:
        """Tell of an NBD server at a host from now on, in a network of that purpose."""
        self.world.nbd_servers[self.world.hosts[host]] = server
        for network in self.records.find("network"):
            self.records.set("network", network, purpose=[purpose])

    def restrict_cbt(self) -> None:
        """Have a licence that does not track changes."""
        self.records.set("pool", self.world.pool, restrictions={"restrict_cbt": "true"})

    def expire_sessions(self) -> None:
        """End all sessions now."""
        self.world.expire_sessions()

    def change_master(self, host: int) -> None:
        """Make another host the master: what is connected breaks, sessions and tasks end, disks and records stay."""
        with self.records.lock:
            self.world.master = self.world.hosts[host]
            self.records.set("pool", self.world.pool, master=self.world.master)
            self.expire_sessions()
            for task in self.records.find("task"):
                self.records.destroy("task", task)
        self.cut_connections()

    def cut_connections(self) -> None:
        """Break every connection, as hosts do with idle ones."""
        for server in self._servers:
            server.cut()

    def stop_host(self, host: int) -> None:
        """Switch a host off."""
        self._servers[host].stop()

    def change_certificate(self, host: int, names: Sequence[str]) -> None:
        """Serve another certificate of the same authority, for these names, from the next connection on."""
        self._load(self._contexts[host], host, names)

    # --- inside ---

    def _issue(self, number: int, address: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.certificates.append(Path())
        self._load(context, number, [f"host{number}.test", address])
        return context

    def _load(self, context: ssl.SSLContext, number: int, names: Sequence[str]) -> None:
        certificate = self._authority.issue(f"host{number}", names, common_name=f"host{number}.test")
        context.load_cert_chain(certificate, certificate.with_name(f"host{number}-key.pem"))
        self.certificates[number] = certificate

    def _listen(self) -> list[HostServer]:
        """Listen at all addresses on one port, which only the first of them chooses."""
        for _ in range(_TRIES):
            servers: list[HostServer] = []
            try:
                for address, context in zip(self.addresses, self._contexts, strict=True):
                    port = servers[0].server_address[1] if servers else 0
                    servers.append(HostServer(address, port, context, self._api, self.http))
            except OSError as error:
                for server in servers:
                    server.server_close()
                if error.errno != errno.EADDRINUSE:
                    raise
            else:
                return servers
        raise AssertionError("no port is free at all addresses")

"""The machines of a host or a cluster as the port tells them. Imports `adapters.errors`, `adapters.port`, this package.

A machine is its GUID. A disk is known by its place, which stays while files and their identities change; what is in
the place is the virtual disk identity that the file carries, also through checkpoints and moves. A copy of a file has
the identity of its original, so two disks of a machine may share one: reference points cannot tell them apart then.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

from adapters.errors import SourceUnavailable
from adapters.hyperv.cluster import Hosts
from adapters.hyperv.facts import AttachedDisk, DiskFile, Machine, Unread
from adapters.port import DiskFact, Exclusion, MachineFact, Tracking

GRANULARITY_BYTES = 65536
OLDEST_TRACKED = (6, 2)
"""The first configuration version of a machine whose changes are tracked."""

_AGENT = "Back it up from inside the guest with the agent."


@dataclass(frozen=True, slots=True)
class Disk:
    """A disk in its place. `header` is None where the file could not be read, and of what is no file."""

    fact: DiskFact
    attached: AttachedDisk
    header: DiskFile | None


@dataclass(frozen=True, slots=True)
class Found:
    """A machine with its disks, as one host told of it."""

    machine: Machine
    disks: tuple[Disk, ...]

    @property
    def fact(self) -> MachineFact:
        """The machine as the port tells it."""
        return MachineFact(self.machine.id, self.machine.name, tuple(disk.fact for disk in self.disks))


@dataclass(frozen=True, slots=True)
class Listing:
    """All machines, sorted by their keys, and the nodes that are up and did not answer."""

    machines: tuple[Found, ...]
    silent: tuple[str, ...]


def disk_key(place: str) -> str:
    """The key of the disk in a place."""
    return place.lower()


def list_machines(hosts: Hosts, *, tracking: bool) -> Listing:
    """List the machines of all hosts that answer. `tracking` says whether the hosts track changes at all."""
    told = hosts.machines()
    found: list[Found] = []
    silent = list(told.silent)
    for address, machines in told.by_host.items():
        try:
            headers = hosts.at(address).disk_files(_paths(*machines))
        except SourceUnavailable:
            if not hosts.is_cluster:
                raise
            silent.append(address)
            continue
        found += [Found(machine, disks_of(machine, headers, tracking=tracking)) for machine in machines]
    return Listing(tuple(sorted(found, key=lambda entry: entry.machine.id)), tuple(silent))


def find_machine(hosts: Hosts, machine_id: str, *, tracking: bool) -> Found:
    """Look up one machine where it is now. Raises SourceNotFound `machine-missing`."""
    machine = hosts.read(machine_id, lambda calls: calls.machine(machine_id))
    headers = hosts.read(machine_id, lambda calls: calls.disk_files(_paths(machine)))
    return Found(machine, disks_of(machine, headers, tracking=tracking))


def _paths(*machines: Machine) -> list[str]:
    """The files of machines' disks."""
    return [disk.path for machine in machines for disk in machine.disks if disk.kind == "file"]


def disks_of(machine: Machine, headers: Mapping[str, DiskFile | Unread], *, tracking: bool) -> tuple[Disk, ...]:
    """A machine's disks by what the headers of their files say, in the order of their keys."""
    tracked = tracking and version_of(machine) >= OLDEST_TRACKED
    disks = [_disk(attached, headers.get(attached.path), tracked=tracked) for attached in machine.disks]
    shared = Counter(disk.header.virtual_disk_id for disk in disks if disk.header is not None)
    named = [_compared(disk) if _is_twice(disk, shared) else disk for disk in disks]
    return tuple(sorted(named, key=lambda disk: disk.fact.key))


def version_of(machine: Machine) -> tuple[int, ...]:
    """The configuration version as numbers; nothing for what is none."""
    parts = machine.version.split(".")
    return tuple(int(part) for part in parts) if all(part.isdecimal() for part in parts) else ()


def _is_twice(disk: Disk, shared: Mapping[str, int]) -> bool:
    return disk.header is not None and shared[disk.header.virtual_disk_id] > 1


def _compared(disk: Disk) -> Disk:
    return replace(disk, fact=replace(disk.fact, tracking="compare"))


def _disk(attached: AttachedDisk, header: DiskFile | Unread | None, *, tracked: bool) -> Disk:
    read = header if isinstance(header, DiskFile) else None
    tracking: Tracking = "rct" if tracked and read is not None and read.format == "vhdx" else "compare"
    fact = DiskFact(
        key=disk_key(attached.place),
        label=_label(attached),
        size_bytes=read.size_bytes if read else 0,
        identity=f"vhd-{read.virtual_disk_id}" if read else f"path-{attached.path}",
        tracking=tracking,
        granularity_bytes=GRANULARITY_BYTES,
        exclusion=_exclusion(attached, header),
    )
    return Disk(fact, attached, read)


def _label(attached: AttachedDisk) -> str:
    """The file's name without ending and what a checkpoint added, and its location: a name alone may be there twice."""
    name = attached.path.rpartition("\\")[2]
    stem, _, ending = name.rpartition(".")
    if ending.lower() in ("avhdx", "avhd"):
        stem = stem.rpartition("_")[0] or stem
    return f"{stem or name} at {attached.place.rpartition('/')[2]}"


def _exclusion(attached: AttachedDisk, header: DiskFile | Unread | None) -> Exclusion | None:
    if attached.kind == "passthrough":
        return Exclusion("it is a disk of the host (pass-through), which no checkpoint holds", _AGENT)
    if attached.kind == "shared" or (isinstance(header, DiskFile) and header.format == "vhds"):
        return Exclusion("several machines may write to it (a shared disk or VHD Set)", _AGENT)
    if not isinstance(header, DiskFile):
        why = header.why if header is not None else "the host did not tell of it"
        return Exclusion(f"its file {attached.path} cannot be read: {why}", "Bring the file back, or detach the disk.")
    return None

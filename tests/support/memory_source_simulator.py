"""Simulator: a hypervisor in this process's memory, for what no image and no QEMU can show.

Its machines have a configuration, its bytes a choice of ways, it takes machines back, and it fails on request. Changes
are tracked in units by the writes of its guests; what is written by `restore_disk` is not tracked, as on datastores.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import pytest

from adapters.errors import AdapterError, SourceConflict, SourceNotFound, SourceUnavailable
from adapters.port import (
    ConfigurationFile,
    Consistency,
    DiskFact,
    DiskImage,
    Exclusion,
    Extent,
    Leftover,
    MachineFact,
    MachineRestore,
    RestoredMachine,
    SnapshotRequest,
    SourceFact,
    Tracked,
    TransportChoice,
    Untracked,
)
from ingest import kinds

UNIT = 64 * 1024


@dataclass
class SimulatedDisk:
    """A disk with what changed since each base token; an excluded one cannot be snapshotted."""

    content: bytearray
    identity: str
    changed: dict[str, set[int]] = field(default_factory=dict)
    exclusion: Exclusion | None = None

    def write(self, offset: int, data: bytes) -> None:
        """Write as a guest does."""
        self.content[offset : offset + len(data)] = data
        units = range(offset // UNIT, -(-(offset + len(data)) // UNIT))
        for bitmap in self.changed.values():
            bitmap.update(units)


@dataclass
class SimulatedMachine:
    """A machine; `snapshots` are the labels of ours that it has, `foreign` those of somebody else's."""

    name: str
    disks: dict[str, SimulatedDisk]
    configuration: tuple[ConfigurationFile, ...] = ()
    running: bool = True
    whole: bool = True
    snapshots: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)


@dataclass
class Hypervisor:
    """Machines by their keys, and what goes wrong with them."""

    machines: dict[str, SimulatedMachine] = field(default_factory=dict)
    choice: TransportChoice | None = None
    transport: str = "memory"
    release_errors: list[AdapterError] = field(default_factory=list)
    unwilling: set[str] = field(default_factory=set)
    read_hook: Callable[[str], None] = lambda key: None
    lock: threading.Lock = field(default_factory=threading.Lock)
    frozen: int = 0
    most_frozen: int = 0
    tokens: int = 0

    def add(self, name: str, *contents: bytes, configuration: tuple[ConfigurationFile, ...] = ()) -> SimulatedMachine:
        """A machine with a disk for each content."""
        disks = {
            f"disk-{number}": SimulatedDisk(bytearray(content), f"{name}/{number}/0")
            for number, content in enumerate(contents)
        }
        machine = self.machines[f"key-{name}"] = SimulatedMachine(name, disks, configuration)
        return machine

    def register(self, monkeypatch: pytest.MonkeyPatch, kind: str = "memory") -> None:
        """Let the command line of this process know it as a kind of source."""
        build = kinds.Kind((), lambda home, name, settings: MemorySource(self))
        monkeypatch.setitem(kinds.KINDS, kind, build)

    def machine(self, key: str) -> SimulatedMachine:
        """A machine that is there."""
        if key not in self.machines:
            raise SourceNotFound(f"There is no machine {key}", code="machine-missing")
        return self.machines[key]


class MemorySource:
    """The port over a hypervisor in memory."""

    kind = "memory"
    consistency: Consistency = "crash"

    def __init__(self, hypervisor: Hypervisor) -> None:
        self._hypervisor = hypervisor

    def check(self) -> SourceFact:
        return SourceFact("Memory", "1", ("a simulator",))

    def inventory(self) -> Sequence[MachineFact]:
        return [
            MachineFact(key, machine.name, tuple(_fact(name, disk) for name, disk in machine.disks.items()))
            for key, machine in self._hypervisor.machines.items()
        ]

    def snapshot(self, machine: MachineFact, request: SnapshotRequest) -> MemorySnapshot:
        found = self._hypervisor.machine(machine.key)
        if found.name in self._hypervisor.unwilling:
            raise SourceUnavailable(f"{found.name} does not answer", code="connection-lost")
        if missing := request.bases.keys() - found.disks.keys():
            raise SourceNotFound(f"There is no disk {min(missing)}", code="disk-not-found")
        return MemorySnapshot(self._hypervisor, machine.key, found, request)

    def reconcile(self, machine: MachineFact, keep: Mapping[str, str]) -> Sequence[Leftover]:
        found = self._hypervisor.machine(machine.key)
        left = [Leftover(f"snapshot {label}", "removed") for label in found.snapshots]
        found.snapshots.clear()
        for key, disk in found.disks.items():
            for token in [token for token in disk.changed if token != keep.get(key)]:
                del disk.changed[token]
                left.append(Leftover(f"tracking {token} of {key}", "removed"))
        return left

    def restore_machine(self, request: MachineRestore, written: Callable[[int], None]) -> RestoredMachine:
        key = f"key-{request.label}"
        machine = SimulatedMachine(request.name, {}, request.configuration, running=False, whole=False)
        self._hypervisor.machines[key] = machine
        try:
            for name, image in request.disks.items():
                machine.disks[name] = SimulatedDisk(bytearray(image.size_bytes), f"{key}/{name}")
                _fill(machine.disks[name].content, image, written)
        except BaseException:
            del self._hypervisor.machines[key]
            raise
        machine.whole = True
        return RestoredMachine(key, machine.name, ("its network was left out",))

    def remove_unfinished(self, label: str, disks: int) -> Sequence[Leftover]:
        if self._hypervisor.release_errors:
            raise self._hypervisor.release_errors.pop(0)
        found = self._hypervisor.machines.get(key := f"key-{label}")
        if found is None:
            return []
        if found.whole:
            return [Leftover(f"machine {found.name}", "kept: it is whole")]
        del self._hypervisor.machines[key]
        return [Leftover(f"machine {found.name}", "removed")]

    def require_overwritable(self, machine: MachineFact, disk_key: str) -> None:
        if self._hypervisor.machine(machine.key).running:
            raise SourceConflict(f"{machine.name} is running", code="machine-running", hint="power it off first")

    def restore_disk(
        self, machine: MachineFact, disk_key: str, image: DiskImage, label: str, written: Callable[[int], None]
    ) -> None:
        self.require_overwritable(machine, disk_key)
        found = self._hypervisor.machine(machine.key)
        _fill(found.disks[disk_key].content, image, written)

    def close(self) -> None:
        """Nothing is held."""


class MemorySnapshot:
    """The disks of a machine at one moment, copied."""

    fallback_cause = None
    consistency = "crash"

    def __init__(self, hypervisor: Hypervisor, key: str, machine: SimulatedMachine, request: SnapshotRequest) -> None:
        self.label = request.label
        self.configuration = machine.configuration
        self._hypervisor = hypervisor
        self._machine = machine
        self._request = request
        self._released = False
        machine.snapshots.append(request.label)
        with hypervisor.lock:
            hypervisor.frozen += 1
            hypervisor.most_frozen = max(hypervisor.most_frozen, hypervisor.frozen)
        self.disks = {
            name: MemoryFrozen(hypervisor, key, name, machine.disks[name], base) for name, base in request.bases.items()
        }

    def confirm(self) -> None:
        """It is a copy: it held."""

    def release(self, *, committed: bool) -> None:
        if self._released:
            return
        with self._hypervisor.lock:
            self._hypervisor.frozen -= not self._released
        self._released = True
        for frozen in self.disks.values():
            frozen.gone = True
        if self._hypervisor.release_errors:
            raise self._hypervisor.release_errors.pop(0)
        self._machine.snapshots.remove(self.label)
        for name, base in self._request.bases.items():
            drop = base if committed else self.disks[name].base_token
            self._machine.disks[name].changed.pop(drop or "", None)


class MemoryFrozen:
    """One disk of a snapshot."""

    def __init__(self, hypervisor: Hypervisor, machine: str, name: str, disk: SimulatedDisk, base: str | None) -> None:
        with hypervisor.lock:
            hypervisor.tokens += 1
            self.base_token = f"since-{hypervisor.tokens}"
        self.fact = _fact(name, disk)
        self.gone = False
        self.choice = hypervisor.choice
        self._hypervisor = hypervisor
        self._machine = machine
        self._content = bytes(disk.content)
        known = disk.changed.get(base) if base is not None else None
        self.tracking = Tracked() if known is not None else Untracked("no-base" if base is None else "base-unknown")
        self._units = sorted(known or ())
        disk.changed[self.base_token] = set()

    def changes(self) -> Iterator[Extent]:
        for unit in self._units:
            part = self._content[unit * UNIT : (unit + 1) * UNIT]
            if part:
                yield Extent(unit * UNIT, len(part), not any(part))

    def open(self) -> MemoryReader:
        return MemoryReader(self, self._hypervisor, self._machine, self._content)


class MemoryReader:
    """Reads a frozen copy."""

    def __init__(self, frozen: MemoryFrozen, hypervisor: Hypervisor, machine: str, content: bytes) -> None:
        self._frozen = frozen
        self.size_bytes = len(content)
        self.transport = hypervisor.transport
        self._hypervisor = hypervisor
        self._machine = machine
        self._content = content

    def extents(self) -> Iterator[Extent]:
        for start in range(0, self.size_bytes, UNIT):
            part = self._content[start : start + UNIT]
            yield Extent(start, len(part), not any(part))

    def pread_into(self, offset: int, buffer: memoryview) -> None:
        self._hypervisor.read_hook(self._machine)
        if self._frozen.gone:
            raise SourceUnavailable("The snapshot is gone", code="snapshot-gone")
        if not 0 <= offset <= offset + len(buffer) <= self.size_bytes:
            raise SourceConflict("That is behind the end of the disk", code="behind-end")
        buffer[:] = self._content[offset : offset + len(buffer)]

    def close(self) -> None:
        """Nothing is held."""


def _fact(key: str, disk: SimulatedDisk) -> DiskFact:
    fact = DiskFact(key, key, len(disk.content), disk.identity, "cbt", UNIT)
    return fact if disk.exclusion is None else replace(fact, exclusion=disk.exclusion)


def _fill(content: bytearray, image: DiskImage, written: Callable[[int], None]) -> None:
    for extent in image.extents():
        for start in range(extent.start, extent.end, UNIT):
            part = memoryview(bytearray(min(UNIT, extent.end - start)))
            if not extent.zero:
                image.pread_into(start, part)
            content[start : start + len(part)] = part
            written(len(part))

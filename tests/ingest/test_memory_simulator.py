"""The simulated hypervisor keeps the port, so that what is shown on it holds for sources."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from adapters.port import Snapshot, Source
from tests.conformance.source_port import OnlineSuite
from tests.support.memory_source_simulator import UNIT, Hypervisor, MemorySource, SimulatedDisk

SIZE = 2 << 20


class MemoryHarness:
    """One machine with one disk, in memory."""

    machine_key = "key-web"
    disk_key = "disk-0"
    can_write_during_snapshot = True

    def __init__(self) -> None:
        self._hypervisor = Hypervisor()
        self._machine = self._hypervisor.add("web", random.Random(1).randbytes(SIZE // 2) + bytes(SIZE // 2))

    @property
    def _disk(self) -> SimulatedDisk:
        return self._machine.disks[self.disk_key]

    def make_source(self) -> Source:
        return MemorySource(self._hypervisor)

    def write(self, offset: int, data: bytes) -> None:
        self._disk.write(offset, data)

    def discard(self, offset: int, length: int) -> None:
        self._disk.write(offset, bytes(length))

    def grow(self, size_bytes: int) -> None:
        added = size_bytes - len(self._disk.content)
        self._disk.content.extend(bytes(added))

    def replace_disk(self) -> None:
        content = bytearray(random.Random(2).randbytes(len(self._disk.content)))
        self._machine.disks[self.disk_key] = SimulatedDisk(content, "another")

    def content(self) -> bytes:
        return bytes(self._disk.content)

    def crash(self, source: Source, snapshot: Snapshot) -> None:
        """Nothing of a process is left that could be missed: the snapshot stays."""

    def leftovers(self) -> Sequence[str]:
        return list(self._machine.snapshots)

    def plant_foreign(self) -> None:
        self._machine.foreign.append("somebody's")

    def foreign_intact(self) -> bool:
        return self._machine.foreign == ["somebody's"]

    def invalid_base(self) -> str:
        return "since-never"


class TestMemorySimulator(OnlineSuite):
    @pytest.fixture
    def harness(self) -> MemoryHarness:
        assert SIZE % UNIT == 0
        return MemoryHarness()

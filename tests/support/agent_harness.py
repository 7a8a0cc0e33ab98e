"""An agent's machine for the conformance suite: real agent processes at a real door, each run handed to the suite.

Where a run would back the machine up, it gives its source away and waits until the suite has done with it. So a source
of the suite is a new run of the agent for whatever is asked of it, as it is for the flow.
"""

from __future__ import annotations

import os
import queue
import random
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from adapters.errors import SourceUnavailable
from adapters.port import (
    ConfigurationFile,
    Consistency,
    DiskSnapshot,
    Leftover,
    MachineFact,
    Snapshot,
    SnapshotRequest,
    Source,
    SourceFact,
)
from ingest.agent.state import Undone
from ingest.receiver.failures import told
from ingest.receiver.run import AgentRun
from ingest.receiver.source import AgentSource
from tests.support.agent_lab import Receiving
from tests.support.agent_process import AgentOrder, exit_code, start_agent
from tests.support.lab import CHUNK, make_image, punch, write_at

SIZE = 4 << 20
NAME = "web"


@dataclass(slots=True)
class Handed:
    """A run whose agent waits for questions."""

    source: AgentSource
    run: HandedRun
    process: Any = None

    def give_back(self) -> None:
        """End it; the agent hears so, and is gone."""
        self.run.given_back.set()
        if self.process is not None:
            process, self.process = self.process, None
            assert exit_code(process) == 0

    def kill(self) -> None:
        """kill -9 of the agent; the run does not know."""
        process, self.process = self.process, None
        process.kill()
        exit_code(process)


class HandedRun(AgentRun):
    """Stands in for a run that backs up: hands its source over, until it is given back or the agent was replaced."""

    handed: queue.Queue[Handed] = queue.Queue()

    def __init__(self, *run: Any) -> None:
        super().__init__(*run)
        self.given_back = threading.Event()

    def _run(self) -> None:
        request = self.ticket.request
        source = AgentSource(request, self.exchange, self.ticket.token, chunk_bytes=CHUNK, base_of=lambda key: None)
        self.handed.put(Handed(source, self))
        while not self.given_back.wait(0.02) and not self.exchange.over:
            pass
        self._finish(told(SourceUnavailable("The suite is done", code="suite-done")))


class SuiteSource:
    """A source that runs the agent for each thing that is asked of it."""

    kind = AgentSource.kind
    consistency: Consistency = "crash"

    def __init__(self, harness: AgentHarness) -> None:
        self._harness = harness

    def check(self) -> SourceFact:
        with self._harness.running() as handed:
            return handed.source.check()

    def inventory(self) -> Sequence[MachineFact]:
        with self._harness.running() as handed:
            return handed.source.inventory()

    def snapshot(self, machine: MachineFact, request: SnapshotRequest) -> Snapshot:
        handed = self._harness.start()
        try:
            return SuiteSnapshot(handed.source.snapshot(machine, request), handed)
        except BaseException:
            handed.give_back()
            raise

    def reconcile(self, machine: MachineFact, keep: Mapping[str, str]) -> Sequence[Leftover]:
        with self._harness.running() as handed:
            return handed.source.reconcile(machine, keep)

    def close(self) -> None:
        """Nothing is held."""


class SuiteSnapshot:
    """A run's snapshot, with whose release the run ends."""

    def __init__(self, inner: Snapshot, handed: Handed) -> None:
        self._inner = inner
        self.handed = handed
        self.label = inner.label
        self.consistency = inner.consistency
        self.fallback_cause = inner.fallback_cause

    @property
    def disks(self) -> Mapping[str, DiskSnapshot]:
        return self._inner.disks

    @property
    def configuration(self) -> Sequence[ConfigurationFile]:
        return self._inner.configuration

    def confirm(self) -> None:
        self._inner.confirm()

    def release(self, *, committed: bool) -> None:
        self._inner.release(committed=committed)
        self.handed.give_back()


class AgentHarness:
    """A raw file, sent as it is or by way of copies that commands make and remove."""

    machine_key = NAME

    def __init__(self, root: Path, door: Receiving, token: str, *, snapshots: bool) -> None:
        self.can_write_during_snapshot = snapshots
        self._image = root / "disk.raw"
        self._copies = root / "copies"
        self._copies.mkdir()
        self.disk_key = str(self._image)
        self._fill(self._image, seed=1)
        copy = self._copies / "ours.raw"
        self._order = AgentOrder(
            url=door.url,
            ca_file=door.lab.authority.ca_file,
            token=token,
            name=NAME,
            device=self._image,
            state=root / "state",
            hooks=self._hooks(root, copy) if snapshots else {},
        )

    def start(self) -> Handed:
        """Run the agent until its run is open."""
        process = start_agent(self._order)
        handed = HandedRun.handed.get(timeout=60)
        handed.process = process
        return handed

    @contextmanager
    def running(self) -> Iterator[Handed]:
        """A run for the length of a block."""
        handed = self.start()
        try:
            yield handed
        finally:
            handed.give_back()

    def make_source(self) -> Source:
        return SuiteSource(self)

    def write(self, offset: int, data: bytes) -> None:
        write_at(self._image, offset, data)

    def discard(self, offset: int, length: int) -> None:
        punch(self._image, offset, length)

    def grow(self, size_bytes: int) -> None:
        os.truncate(self._image, size_bytes)

    def replace_disk(self) -> None:
        other = self._image.with_name("other.raw")
        self._fill(other, seed=2)
        os.replace(other, self._image)

    def content(self) -> bytes:
        return self._image.read_bytes()

    def crash(self, source: Source, snapshot: Snapshot) -> None:
        assert isinstance(snapshot, SuiteSnapshot)
        snapshot.handed.kill()

    def leftovers(self) -> Sequence[str]:
        copies = [path.name for path in self._copies.glob("ours*")]
        state = self._order.state / NAME
        notes = state / "undone.json"
        undone = msgspec.json.decode(notes.read_bytes(), type=Undone) if notes.exists() else Undone()
        return [*copies, *(place for _, place in undone.snapshots)]

    def plant_foreign(self) -> None:
        (self._copies / "theirs.raw").write_bytes(b"theirs")

    def foreign_intact(self) -> bool:
        return (self._copies / "theirs.raw").read_bytes() == b"theirs"

    def invalid_base(self) -> str:
        return "0" * 32

    def _hooks(self, root: Path, copy: Path) -> dict[str, str]:
        lines = {
            "snapshot": f'cp --sparse=always "$HOLDFAST_TARGET" {copy}\necho {copy}',
            "release": f'rm -f "${{HOLDFAST_SNAPSHOT:-{copy}}}"',
        }
        for name, line in lines.items():
            script = root / name
            script.write_text(f"#!/bin/sh\nset -e\n{line}\n")
            script.chmod(0o755)
        return {name: str(root / name) for name in lines}

    def _fill(self, path: Path, seed: int) -> None:
        dice = random.Random(seed)
        make_image(path, SIZE, [(offset, dice.randbytes(200_000)) for offset in (0, 1 << 20, 3 << 20)])

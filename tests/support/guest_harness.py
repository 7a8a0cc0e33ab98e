"""A running machine of somebody's own as the conformance suite wants one, for what a guest that writes can show.

The guest is reached by a command: `COMMAND write OFFSET` takes the bytes on its standard input and ends when they are
on the disk; `COMMAND read` prints the whole disk. The disk is overwritten: it must be there for this alone, and of at
most 64 MiB. Over SSH, `COMMAND` is such a script:

    case $1 in
        write) ssh guest "dd of=/dev/sdb bs=64K iflag=fullblock oflag=seek_bytes seek=$2 conv=fsync,notrunc" ;;
        read) ssh guest "dd if=/dev/sdb bs=64K" ;;
    esac
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

from adapters.errors import AdapterError
from adapters.port import DiskFact, MachineFact, Snapshot, SnapshotRequest, Source

DEADLINE_S = 120


class Guest(Protocol):
    """What writes and reads the disk inside the machine."""

    def write(self, offset: int, data: bytes) -> None:
        """Write, durably."""

    def read(self) -> bytes:
        """The whole disk."""


class CommandGuest:
    """A guest behind a command."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = list(command)

    def write(self, offset: int, data: bytes) -> None:
        """Run `COMMAND write OFFSET`."""
        subprocess.run([*self._command, "write", str(offset)], input=data, check=True, timeout=DEADLINE_S)

    def read(self) -> bytes:
        """Run `COMMAND read`."""
        run = subprocess.run([*self._command, "read"], stdout=subprocess.PIPE, check=True, timeout=DEADLINE_S)
        return run.stdout


class GuestHarness:
    """The disk that people call `disk` of the machine that they call `machine`, by the names that an inventory shows.

    `spoil` makes a base token of a disk into one of a tracking that never was.
    """

    can_write_during_snapshot = True

    def __init__(
        self, make_source: Callable[[], Source], machine: str, disk: str, guest: Guest, spoil: Callable[[str], str]
    ) -> None:
        self.make_source = make_source
        self.write = guest.write
        self.content = guest.read
        self._spoil = spoil
        source = make_source()
        try:
            fact, found = _only(source.inventory(), machine, disk)
            self.machine_key, self.disk_key = fact.key, found.key
            source.reconcile(fact, {})
        finally:
            source.close()

    def crash(self, source: Source, snapshot: Snapshot) -> None:
        """Let the source go; nothing is released."""
        with suppress(AdapterError):
            source.close()

    def invalid_base(self) -> str:
        """A base of a tracking that never was: a real one, spoiled."""
        source = self.make_source()
        try:
            machine = next(found for found in source.inventory() if found.key == self.machine_key)
            snapshot = source.snapshot(machine, SnapshotRequest("conformance", {self.disk_key: None}))
            snapshot.confirm()
            token = snapshot.disks[self.disk_key].base_token
            snapshot.release(committed=True)
        finally:
            source.close()
        assert token, "the disk's changes are not tracked"
        return self._spoil(token)


def _only(machines: Sequence[MachineFact], machine: str, disk: str) -> tuple[MachineFact, DiskFact]:
    found = [(fact, held) for fact in machines if fact.name == machine for held in fact.disks if held.label == disk]
    assert len(found) == 1, f"{len(found)} disks are called {disk!r} of {machine!r}"
    return found[0]

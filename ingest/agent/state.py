"""What an agent keeps between runs of one machine: a lock, digests, and what a process that dies leaves undone.

Imports `ingest.agent.digests` and `storage`. Each intent is durable before its effect; only its user can read it.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

import msgspec

from ingest.agent.digests import DigestStore
from storage.errors import Conflict
from storage.files import replace_file


class Undone(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be done should this process die: runs to give up, file systems to thaw, snapshots to give back."""

    requests: tuple[UUID, ...] = ()
    """Requests whose runs may be open."""
    frozen: bool = False
    snapshots: tuple[tuple[str, str], ...] = ()
    """(what was snapshotted, where the snapshot is); the second is empty while the snapshot is being made."""


class AgentState:
    """The directory of one machine's agent, locked by this process."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.digests = DigestStore(directory)
        self._file = directory / "undone.json"
        self.undone = self._read()
        # Of processes that died while they wrote: nobody else writes here.
        for partial in directory.glob("*.partial"):
            partial.unlink()

    def note(self, **changes: object) -> None:
        """Change what is undone, durably."""
        self.undone = msgspec.structs.replace(self.undone, **changes)
        replace_file(self._file, [msgspec.json.encode(self.undone)], partial=self.directory, mode=0o600)

    def _read(self) -> Undone:
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=Undone)
        except FileNotFoundError:
            return Undone()


@contextmanager
def opened_state(root: Path, machine: str) -> Iterator[AgentState]:
    """Hold the state of a machine for the block. Raises Conflict while another process does."""
    directory = root / machine
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict(
                f"another agent sends {machine} from here already", code="agent-busy", hint="wait until it is done"
            ) from None
        yield AgentState(directory)
    finally:
        os.close(lock)

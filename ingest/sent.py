"""The source of all machines whose agents send their own backups: it answers a check, and nothing can be asked of it.

Imports `adapters.errors` and `adapters.port`. Their restore points are in the catalog as any others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from adapters.errors import SourceInvalid
from adapters.port import Consistency, Leftover, MachineFact, Snapshot, SnapshotRequest, SourceFact


class SentMachines:
    """What `holdfast backup` and tasks meet under that name."""

    kind = "agent"
    consistency: Consistency = "crash"

    def check(self) -> SourceFact:
        """Say how its machines are backed up."""
        return SourceFact("Holdfast agents", "1", ("machines send their own backups: holdfast agent backup",))

    def inventory(self) -> Sequence[MachineFact]:
        """Refuse: there is nobody to ask."""
        raise _refusal()

    def snapshot(self, machine: MachineFact, request: SnapshotRequest) -> Snapshot:
        """Refuse, for the same reason."""
        raise _refusal()

    def reconcile(self, machine: MachineFact, keep: Mapping[str, str]) -> Sequence[Leftover]:
        """Agents clean up after themselves."""
        return ()

    def close(self) -> None:
        """Nothing is held."""


def _refusal() -> SourceInvalid:
    return SourceInvalid(
        "Machines of agents are backed up by their agents",
        code="agent-sends",
        hint="On the machine: holdfast agent backup",
    )

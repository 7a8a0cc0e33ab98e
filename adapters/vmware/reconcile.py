"""Removing what earlier runs left on a machine. Imports `adapters.port` and this package.

Only snapshots with our mark are removed. Consolidation merges what a removal left, ours as a rule, and changes
nothing that a machine can see.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from adapters.port import Leftover
from adapters.vmware.inventory import Machine, look_at
from adapters.vmware.marks import is_ours
from adapters.vmware.session import Session
from adapters.vmware.snapshots import SnapshotKeeper
from adapters.vmware.transport.strays import end_strays


def clean(session: Session, keeper: SnapshotKeeper, machine: Machine, runtime_dir: Path) -> Sequence[Leftover]:
    """End readers of dead runs first: a disk that is held open cannot be merged. Raises what keeps a snapshot."""
    cleaned = list(end_strays(runtime_dir, session.settings.host, machine.moref))
    for node in sorted(machine.snapshots, key=lambda node: -node.depth):
        if is_ours(node):
            keeper.remove(machine, node.moref)
            cleaned.append(Leftover(f"snapshot {node.name}", "removed"))
    if keeper.consolidate(look_at(session, machine.moref)):
        cleaned.append(Leftover(f"files of removed snapshots of {machine.name}", "consolidated"))
    return cleaned

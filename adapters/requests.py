"""Whether a machine has the disks that a snapshot is asked for. Imports `adapters.errors` and `adapters.port`."""

from __future__ import annotations

from collections.abc import Iterable

from adapters.errors import SourceInvalid, SourceNotFound
from adapters.port import DiskFact, SnapshotRequest


def require_disks(name: str, facts: Iterable[DiskFact], request: SnapshotRequest) -> None:
    """Raise SourceNotFound for a disk that the machine `name` lacks, SourceInvalid for one that no snapshot holds."""
    known = {fact.key: fact for fact in facts}
    if missing := sorted(request.bases.keys() - known.keys()):
        raise SourceNotFound(f"{name} has no disk {', '.join(missing)}", code="disk-missing")
    for key in request.bases:
        if (exclusion := known[key].exclusion) is not None:
            raise SourceInvalid(
                f"The disk {known[key].label} cannot be backed up",
                code="disk-excluded",
                why=exclusion.reason,
                hint=exclusion.way_out,
            )

"""Whether a machine has the disks that a snapshot is asked for. Imports the port, its errors and `inventory`."""

from __future__ import annotations

from adapters.errors import SourceInvalid, SourceNotFound
from adapters.hyperv.inventory import Found
from adapters.port import SnapshotRequest


def require_disks(found: Found, request: SnapshotRequest) -> None:
    """Raise SourceNotFound for a disk that is not there, SourceInvalid for one that no checkpoint holds."""
    known = {disk.fact.key: disk.fact for disk in found.disks}
    if missing := sorted(request.bases.keys() - known.keys()):
        raise SourceNotFound(f"{found.machine.name} has no disk {', '.join(missing)}", code="disk-missing")
    for key in request.bases:
        if (exclusion := known[key].exclusion) is not None:
            raise SourceInvalid(
                f"The disk {known[key].label} cannot be backed up",
                code="disk-excluded",
                why=exclusion.reason,
                hint=exclusion.way_out,
            )

"""Ends the servers that a dead run left for a machine's disks.

Imports `adapters.nbd`, `adapters.port` and this package only.
"""

from __future__ import annotations

from pathlib import Path

from adapters.nbd import strays
from adapters.port import Leftover
from adapters.vmware.transport import san, vddk


def end_strays(runtime_dir: Path, host: str, vm_moref: str) -> list[Leftover]:
    """End what reads the machine's disks and belongs to no living run, and remove its folders."""
    about = {"machine": vm_moref, "host": host}
    return [
        leftover
        for prefix in (vddk.RUN_PREFIX, san.RUN_PREFIX)
        for leftover in strays.end_strays(runtime_dir, prefix, about)
    ]

"""Ends the servers that a dead run left for a machine's disks.

Imports `adapters.nbd`, `adapters.port` and this package only.
"""

from __future__ import annotations

from pathlib import Path

from adapters.nbd import strays
from adapters.port import Leftover
from adapters.vmware.transport.vddk import RUN_PREFIX


def end_strays(runtime_dir: Path, host: str, vm_moref: str) -> list[Leftover]:
    """End what reads the machine's disks and belongs to no living run, and remove its folders."""
    return strays.end_strays(runtime_dir, RUN_PREFIX, {"machine": vm_moref, "host": host})

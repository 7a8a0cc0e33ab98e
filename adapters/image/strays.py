"""Ends qemu-nbd processes that an earlier run left. Imports `adapters.nbd`, `adapters.port` and this package only."""

from __future__ import annotations

from pathlib import Path

from adapters.image.qemunbd import RUN_PREFIX
from adapters.nbd import strays
from adapters.port import Leftover


def end_strays(runtime_dir: Path, machine_key: str) -> list[Leftover]:
    """End the strays of one machine and remove their run folders."""
    return strays.end_strays(runtime_dir, RUN_PREFIX, {"machine": machine_key})

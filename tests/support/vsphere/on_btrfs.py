"""The simulator with its datastore on a real btrfs: a subvolume that stands for a volume of a storage array."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from adapters.vmware.transport.array.settings import ArraySettings, ReflinkSettings
from tests.support.vsphere.building import MachineSpec
from tests.support.vsphere.simulator import DATASTORE, DEFAULT_MACHINES, VsphereSimulator

BTRFS_BYTES = 2 << 30
"""Enough that the datastore is not almost full."""

VOLUME = "ds1"


@contextmanager
def vsphere_on_btrfs(
    mount: Path, machines: Sequence[MachineSpec] = DEFAULT_MACHINES
) -> Iterator[tuple[VsphereSimulator, ArraySettings]]:
    """Run a simulator whose datastore is a subvolume below a folder of its own in `mount`, and say where it is."""
    root = Path(tempfile.mkdtemp(dir=mount))
    make_subvolume(root / VOLUME)
    with (
        tempfile.TemporaryDirectory(prefix="hf-") as directory,
        VsphereSimulator(Path(directory), machines, datastore=root / VOLUME) as running,
    ):
        yield running, ArraySettings(ReflinkSettings(root), {DATASTORE: VOLUME})


def make_subvolume(path: Path) -> None:
    """Make an empty btrfs subvolume."""
    subprocess.run(["btrfs", "-q", "subvolume", "create", path], check=True)

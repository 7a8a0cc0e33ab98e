"""An incremental of a machine on which nothing changed, through the whole flow, on the vSphere simulator.

The simulator runs in a process of its own, over a real QEMU.
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path

from tests.bench.figures import Figure, figure
from tests.bench.idle import DISKS, PLACES, TIB, measured, repository_on, write_some
from tests.support.bench_home import holdfast, seconds
from tests.support.vsphere.apart import vsphere_apart
from tests.support.vsphere.building import MachineSpec
from tests.support.vsphere.devices import DiskSpec


def run() -> list[Figure]:
    """One full, then incrementals of nothing."""
    with tempfile.TemporaryDirectory(prefix="hf-") as name:
        folder = Path(name)
        machines = [MachineSpec("large", disks=(DiskSpec(TIB),) * DISKS)]
        with (
            vsphere_apart(folder / "vsphere", machines, write_some) as vsphere,
            repository_on(vsphere, folder / "home", "vmware") as services,
        ):
            idle = measured(services, vsphere)
            home = services.home.root
            command = statistics.median(seconds(lambda: holdfast(home, "backup", "lab")) for _ in range(3))
    disks = f"vSphere simulator, {DISKS} sparse disks of 1 TiB"
    what = f"incremental, no change, {disks}, in a running process: our own time besides the server's"
    return [
        figure(f"first full, {disks}, {PLACES} MiB of data each", idle.first, "s"),
        figure(what, idle.ours, "s", "<= 2"),
        figure("the same, the server's time included", idle.wall, "s"),
        figure("the same, our CPU time", idle.work, "s"),
        figure("the same as a whole `holdfast backup` command", command, "s"),
    ]

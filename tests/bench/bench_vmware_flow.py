"""An incremental of a machine on which nothing changed, through the whole flow, on the vSphere simulator.

The simulator runs in a process of its own, over a real QEMU. Our own time is the wall time of `back_up` in a running
process without that in which the server was answering a request of ours.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path

from ingest.wiring import Services
from tests.bench.figures import Figure, figure
from tests.support.bench_home import back_up, holdfast, repository, seconds
from tests.support.vsphere import VsphereSimulator
from tests.support.vsphere.apart import Running, vsphere_apart
from tests.support.vsphere.building import MachineSpec
from tests.support.vsphere.devices import DiskSpec

MIB, TIB = 1 << 20, 1 << 40
DISKS = 4
PLACES = 16
ROUNDS = 5
VARIABLE = "HOLDFAST_BENCH_PASSWORD"


def run() -> list[Figure]:
    """One full, then incrementals of nothing."""
    with tempfile.TemporaryDirectory(prefix="hf-") as name:
        folder = Path(name)
        machines = [MachineSpec("large", disks=(DiskSpec(TIB),) * DISKS)]
        with vsphere_apart(folder / "vsphere", machines, _write) as vsphere:
            there = vsphere.address
            os.environ[VARIABLE] = there.password
            settings = {"host": there.host, "port": str(there.port), "user": there.user}
            trust = {"password": f"env:{VARIABLE}", "ca": str(there.ca_file)}
            with repository(folder / "home", "vmware", **settings, **trust) as services:
                return _figures(services, vsphere)


def _write(simulator: VsphereSimulator) -> None:
    """Give each disk some data, spread over it."""
    for disk in range(DISKS):
        for place in range(PLACES):
            simulator.write("large", disk, place * (TIB // PLACES), os.urandom(MIB))


def _figures(services: Services, vsphere: Running) -> list[Figure]:
    first = seconds(lambda: back_up(services))
    again = [_idle(services, vsphere) for _ in range(ROUNDS)]
    wall, ours, work = (statistics.median(column) for column in zip(*again, strict=True))
    command = statistics.median(seconds(lambda: holdfast(services.home.root, "backup", "lab")) for _ in range(3))
    what = f"incremental, no change, vSphere simulator, {DISKS} sparse disks of 1 TiB"
    return [
        figure(f"first full, vSphere simulator, {DISKS} sparse disks of 1 TiB, {PLACES} MiB of data each", first, "s"),
        figure(f"{what}, in a running process: our own time besides the server's", ours, "s", "<= 2"),
        figure("the same, the server's time included", wall, "s"),
        figure("the same, our CPU time", work, "s"),
        figure("the same as a whole `holdfast backup` command", command, "s"),
    ]


def _idle(services: Services, vsphere: Running) -> tuple[float, float, float]:
    """Wall seconds, those without the server's, and CPU seconds of one incremental, which must be one."""
    served, began, worked = vsphere.busy_seconds(), time.perf_counter(), time.process_time()
    report = back_up(services)
    wall, work = time.perf_counter() - began, time.process_time() - worked
    if [(disk.level, disk.changed_bytes) for disk in report.disks] != [("incremental", 0)] * DISKS:
        raise AssertionError("that was no incremental of nothing")
    return wall, wall - (vsphere.busy_seconds() - served), work

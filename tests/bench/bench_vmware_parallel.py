"""Fifty machines backed up at once from the third-party vcsim: one command, four connections to each ESXi host.

A proxy outside our process counts the connections that carry datastore files, by the host of the machine.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from pyVmomi import vim

from adapters.vmware.properties import read_all
from adapters.vmware.session import Session
from catalog.home import Home
from ingest.wiring import opened
from tests.bench.figures import Figure, figure
from tests.support.bench_home import holdfast, repository, seconds
from tests.support.counting_proxy import counting_proxy
from tests.support.vcsim_disk import give_disk
from tests.support.vcsim_process import PASSWORD, Vcsim, running_vcsim

MIB = 1 << 20
DISK_BYTES = 4 * MIB
MACHINES = 50
POOLS = 2
CONNECTIONS = 4
VARIABLE = "HOLDFAST_BENCH_PASSWORD"


def run() -> list[Figure]:
    """Back all of them up once."""
    os.environ[VARIABLE] = PASSWORD
    with tempfile.TemporaryDirectory(prefix="hf-") as name:
        folder = Path(name)
        with running_vcsim(folder, "-vm", str(MACHINES // POOLS)) as vcsim:
            hosts = _hosts(vcsim)
            for machine in hosts:
                give_disk(vcsim, machine, os.urandom(DISK_BYTES))
            return _backed_up(folder / "home", vcsim, hosts)


def _hosts(vcsim: Vcsim) -> dict[str, str]:
    """The ESXi host of each machine, which has a folder of its name."""
    session = Session(vcsim.settings())
    try:
        found = read_all(session, vim.VirtualMachine, ["name", "runtime.host"])
        return {str(item.values["name"]): str(item.values["runtime.host"]._moId) for item in found}
    finally:
        session.close()


def _backed_up(home: Path, vcsim: Vcsim, hosts: dict[str, str]) -> list[Figure]:
    with counting_proxy(vcsim.port, vcsim.certificate, hosts.__getitem__) as proxy:
        settings = {"host": vcsim.host, "port": str(proxy.port), "user": "user", "password": f"env:{VARIABLE}"}
        with repository(home, "vmware", **settings, ca=str(vcsim.ca_file), connections=str(CONNECTIONS)):
            pass
        taken = seconds(lambda: holdfast(home, "backup", "lab", "--parallel", str(MACHINES)))
        peaks = {host: proxy.most[host] for host in sorted(set(hosts.values()))}
    with opened(Home(home)) as services:
        points = sum(len(machine.restore_points) for machine in services.catalog.machines())
    most = max(peaks.values())
    rate = MACHINES * DISK_BYTES / MIB / taken
    print(f"connections that carried data, at most at once: {peaks}")
    many = f"{MACHINES} machines of vcsim at once, {DISK_BYTES // MIB} MiB each"
    return [
        figure(f"{many}: restore points", points, "points", f">= {MACHINES}"),
        figure(f"{many}: `holdfast backup --parallel {MACHINES}`", taken, "s"),
        figure(f"{many}: rate", rate, "MiB/s"),
        figure(
            f"{many}: most connections to an ESXi host, limit {CONNECTIONS}", most, "connections", f"<= {CONNECTIONS}"
        ),
    ]

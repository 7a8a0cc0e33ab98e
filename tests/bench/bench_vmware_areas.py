"""A disk with a million changed areas: asked for page by page, checked and kept in 16 bytes each.

The vSphere simulator, in a process of its own, tells of areas that are not there (see `Faults.areas`) in pages of
2,000 as ESXi does; pyvmomi parses real SOAP answers. Our side runs in a process of its own for each number of areas.
An area is kept in 16 bytes; while the list grows, the old copy of it may be there beside the new one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from pyVmomi import vim

from tests.bench.figures import Figure, figure
from tests.support.apart import Address
from tests.support.bench_home import ROOT
from tests.support.vsphere import VsphereSimulator
from tests.support.vsphere.apart import vsphere_apart
from tests.support.vsphere.building import MachineSpec
from tests.support.vsphere.devices import DiskSpec

KIB, MIB, TIB = 1 << 10, 1 << 20, 1 << 40
FEW, MANY = 100_000, 1_000_000
Answer = dict[str, Any]


def run() -> list[Figure]:
    """Measure both numbers of areas."""
    few, many = _measured(FEW), _measured(MANY)
    grown = (many["peak_kib"] - few["peak_kib"]) * KIB
    work = many["cpu_seconds"] / MANY * 1e6
    return [
        figure("1,000,000 changed areas of vSphere, in pages of 2,000: our CPU time an area", work, "us"),
        figure("the same an area, of 100,000 areas", few["cpu_seconds"] / FEW * 1e6, "us"),
        figure("the same: wall, most of it the simulator's rendering", many["seconds"], "s"),
        figure("1,000,000 changed areas of vSphere: peak RSS of the asker", many["peak_kib"] / KIB, "MiB", "<= 400"),
        figure("peak RSS an area of vSphere, from 100,000 to 1,000,000 areas", grown / (MANY - FEW), "bytes", "<= 32"),
    ]


def _measured(areas: int) -> Answer:
    with tempfile.TemporaryDirectory(prefix="hf-") as folder:
        machines = [MachineSpec("large", disks=(DiskSpec(TIB),))]
        with vsphere_apart(Path(folder), machines, partial(_prepare, areas)) as vsphere:
            bases = _asked(vsphere.address, None)["bases"]
            answer = _asked(vsphere.address, bases)
    if answer["areas"] != areas:
        raise AssertionError(f"{answer['areas']} areas were found, {areas} were told")
    return answer


def _prepare(areas: int, simulator: VsphereSimulator) -> None:
    """Claim so many changes, spread over the disk, and know nothing of what is allocated."""
    simulator.faults.areas = partial(_spread, areas)
    simulator.faults.star_fault = vim.fault.FileFault(file="large.vmdk")


def _spread(count: int, _true: Sequence[tuple[int, int]]) -> Sequence[tuple[int, int]]:
    stride = TIB // count // (64 * KIB) * 64 * KIB
    return [(number * stride, 64 * KIB) for number in range(count)]


def _asked(vsphere: Address, bases: dict[str, str] | None) -> Answer:
    told = {"host": vsphere.host, "port": vsphere.port, "user": vsphere.user, "ca_file": str(vsphere.ca_file)}
    command = [sys.executable, "-m", "tests.bench.areas_peer", json.dumps({**told, "bases": bases})]
    environment = {**os.environ, "PEER_PASSWORD": vsphere.password}
    done = subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
    answer: Answer = json.loads(done.stdout)
    return answer

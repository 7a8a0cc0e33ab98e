"""Change lists and incrementals of Hyper-V machines, on simulated hosts behind real NTLM, TLS and SMB.

The list of a million ranges is told by the WinRM simulator in this process, in pages of 4,096; our side runs in a
process of its own for each number of ranges. The incrementals go through the whole flow, of a disk with one range of
64 KiB in each of so many places; the simulated hosts run in this process, and the time in which they answered a script
is taken off. Files are read from a real Samba.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

from ingest.wiring import Services
from tests.bench.figures import Figure, figure
from tests.support.bench_home import ROOT, back_up, repository
from tests.support.hyperv.network import served
from tests.support.hyperv.world import HypervWorld
from tests.support.winrm import WinrmSimulator

KIB, MIB, GIB, TIB = 1 << 10, 1 << 20, 1 << 30, 1 << 40
FEW, MANY = 100_000, 1_000_000
RANGE_BYTES = 64 * KIB
BLOCK_BYTES = 32 * MIB
ROUNDS = 3
VARIABLE = "HOLDFAST_BENCH_PASSWORD"
Answer = dict[str, Any]


def run() -> list[Figure]:
    """Measure the list, then the incrementals."""
    return [*_lists(), *_incrementals()]


def _lists() -> list[Figure]:
    few, many = _listed(FEW), _listed(MANY)
    grown = (many["peak_kib"] - few["peak_kib"]) * KIB
    what = "1,000,000 changed ranges of Hyper-V, in pages of 4,096 over WinRM"
    return [
        figure(f"{what}: wall, with the simulator's work", many["seconds"], "s"),
        figure(f"{what}: our CPU time a range", many["cpu_seconds"] / MANY * 1e6, "us"),
        figure(f"{what}: peak RSS of the asker", many["peak_kib"] / KIB, "MiB", "<= 400"),
        figure("peak RSS a range of Hyper-V, from 100,000 to 1,000,000 ranges", grown / (MANY - FEW), "bytes", "<= 32"),
    ]


def _listed(ranges: int) -> Answer:
    stride = TIB // ranges // RANGE_BYTES * RANGE_BYTES

    def answer(host: str, script: str, arguments: dict[str, Any]) -> Answer:
        first = -(-arguments["offset"] // stride)
        end = arguments["offset"] + arguments["length"]
        last = min(ranges, -(-end // stride), first + arguments["most"])
        processed = (end if last * stride >= end or last == ranges else last * stride) - arguments["offset"]
        return {"processed": processed, "ranges": [(at * stride, RANGE_BYTES) for at in range(first, last)]}

    with WinrmSimulator(answer) as host:
        told = {"host": host.address, "port": host.port, "user": host.user, "ca_file": str(host.ca_file)}
        command = [sys.executable, "-m", "tests.bench.hyperv_peer", json.dumps({**told, "size_bytes": TIB})]
        environment = {**os.environ, "PEER_PASSWORD": host.password}
        done = subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
    found: Answer = json.loads(done.stdout)
    if not found["tracked"] or found["areas"] != ranges:
        raise AssertionError(f"{found['areas']} ranges were found, {ranges} were told")
    return found


class BusyWorld(HypervWorld):
    """Counts the time in which it answers."""

    busy_seconds = 0.0

    def answer(self, host: str, script: str, arguments: dict[str, Any]) -> Answer:
        """Answer a script."""
        began = time.perf_counter()
        try:
            return super().answer(host, script, arguments)
        finally:
            self.busy_seconds += time.perf_counter() - began


def _incrementals() -> list[Figure]:
    large = _times(TIB, (0, 1_000, 4_000))
    small = _times(64 * GIB, (0, 1_000))
    what = "incremental of a 1 TiB VHDX on Hyper-V (simulated, real SMB)"
    slope = (large[4_000] - large[0]) / (large[1_000] - large[0])
    return [
        figure(f"{what}, 1,000 changed ranges of 64 KiB: wall besides the hosts'", large[1_000], "s"),
        figure(f"{what}, 4,000 changed ranges", large[4_000], "s"),
        figure(f"{what}, no change", large[0], "s"),
        figure("Hyper-V incremental: the time that 4,000 changed ranges add / that 1,000 add", slope, "ratio", "<= 5"),
        figure(
            "Hyper-V incremental: what 1,000 changed ranges add on 1 TiB / on 64 GiB",
            _added(large) / _added(small),
            "ratio",
            "<= 2",
        ),
    ]


def _added(times: dict[int, float]) -> float:
    return times[1_000] - times[0]


def _times(size_bytes: int, counts: Sequence[int]) -> dict[int, float]:
    """The median seconds of incrementals with so many changes."""
    with tempfile.TemporaryDirectory(prefix="hf-") as name:
        folder = Path(name)
        world = BusyWorld(folder / "hosts")
        machine = world.add_machine("large")
        place = world.add_disk(machine, size_bytes, block_bytes=BLOCK_BYTES)
        with served(world) as hosts:
            os.environ[VARIABLE] = hosts.password
            told = {"host": hosts.host, "port": str(hosts.port), "smb-port": str(hosts.smb_port), "user": hosts.user}
            trust = {"password": f"env:{VARIABLE}", "ca": str(hosts.ca_file)}
            with repository(folder / "home", "hyperv", **told, **trust) as services:
                back_up(services)
                rounds = [
                    {count: _once(services, world, machine, place, count) for count in counts} for _ in range(ROUNDS)
                ]
    return {count: statistics.median(taken[count] for taken in rounds) for count in counts}


def _once(services: Services, world: BusyWorld, machine: str, place: str, count: int) -> float:
    """Change so many places, and back up: the wall seconds without those of the hosts."""
    dice = Random(count)
    stride = world.disk(machine, place).size_bytes // max(count, 1) // RANGE_BYTES * RANGE_BYTES
    for number in range(count):
        world.write(machine, place, number * stride, dice.randbytes(RANGE_BYTES))
    busy, began = world.busy_seconds, time.perf_counter()
    report = back_up(services)
    wall = time.perf_counter() - began - (world.busy_seconds - busy)
    if [(disk.level, disk.changed_bytes) for disk in report.disks] != [("incremental", count * RANGE_BYTES)]:
        raise AssertionError(f"that was no incremental of {count} changes: {report.disks}")
    return wall

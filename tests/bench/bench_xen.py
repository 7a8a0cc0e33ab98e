"""The xen source's own work: a bitmap of 16 TiB made into extents, and an incremental of a machine nothing changed on.

The simulated pool runs in a process of its own, its disks behind a real nbdkit in TLS. Our own time is the wall time of
`back_up` in a running process without that in which the pool was at a call of ours; waiting for nbdkit is in it.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from base64 import b64encode
from pathlib import Path
from random import Random

from adapters.port import Extent
from adapters.xen.bitmap import BLOCK_BYTES, decode
from ingest.wiring import Services
from tests.bench.figures import Figure, figure
from tests.support.bench_home import back_up, repository, seconds
from tests.support.xapi.apart import Running, pool_apart
from tests.support.xapi.building import DiskSpec, MachineSpec
from tests.support.xapi.simulator import XapiSimulator

MIB, TIB = 1 << 20, 1 << 40
LARGE = 16 * TIB
AREAS = 10_000
DISKS = 4
PLACES = 16
ROUNDS = 5
VARIABLE = "HOLDFAST_BENCH_PASSWORD"


def run() -> list[Figure]:
    """Measure both."""
    return [*_bitmaps(), *_incrementals()]


def _bitmaps() -> list[Figure]:
    """Changes that lie together, as guests write, and the same number of single blocks strewn over the whole disk."""
    dice, blocks = Random(16), LARGE // BLOCK_BYTES
    together = [first + near for first in dice.sample(range(0, blocks - 1000, 1000), 100) for near in range(0, 200, 2)]
    strewn = dice.sample(range(0, blocks, 2), AREAS)
    what = f"list_changed_blocks of 16 TiB with {AREAS:,} areas to extents"
    return [
        figure(f"{what}, in 100 places", _decoding(together), "ms", "<= 100"),
        figure(
            "list_changed_blocks of 16 TiB with 10,000 areas to extents, strewn over the disk",
            _decoding(strewn),
            "ms",
            "<= 100",
        ),
    ]


def _decoding(blocks: list[int]) -> float:
    bits = bytearray(LARGE // BLOCK_BYTES // 8)
    for block in blocks:
        bits[block // 8] |= 0x80 >> block % 8
    text = b64encode(bits).decode()
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        found = [Extent(start, length, zero=False) for start, length in decode(text, LARGE)]
        times.append((time.perf_counter() - began) * 1000)
        if len(found) != AREAS:
            raise AssertionError(f"{len(found)} areas were found")
    return statistics.median(times)


def _incrementals() -> list[Figure]:
    """One full, then incrementals of nothing."""
    with tempfile.TemporaryDirectory(prefix="hf-") as name:
        folder = Path(name)
        machines = [MachineSpec("large", disks=(DiskSpec(TIB),) * DISKS)]
        with pool_apart(folder / "pool", machines, _write) as pool:
            there = pool.address
            os.environ[VARIABLE] = there.password
            settings = {"host": there.host, "port": str(there.port), "user": there.user}
            trust = {"password": f"env:{VARIABLE}", "ca": str(there.ca_file)}
            with repository(folder / "home", "xen", **settings, **trust) as services:
                return _figures(services, pool)


def _write(pool: XapiSimulator) -> None:
    """Give each disk some data, spread over it."""
    for disk in range(DISKS):
        for place in range(PLACES):
            pool.write("large", disk, place * (TIB // PLACES), os.urandom(MIB))


def _figures(services: Services, pool: Running) -> list[Figure]:
    first = seconds(lambda: back_up(services))
    again = [_idle(services, pool) for _ in range(ROUNDS)]
    wall, ours, work = (statistics.median(column) for column in zip(*again, strict=True))
    what = f"incremental, no change, Xen pool simulator, {DISKS} sparse disks of 1 TiB"
    return [
        figure(f"first full, Xen pool simulator, {DISKS} sparse disks of 1 TiB, {PLACES} MiB of data each", first, "s"),
        figure(f"{what}: our own time besides the pool's", ours, "s", "<= 2"),
        figure("the same, the pool's time included", wall, "s"),
        figure("the same, our CPU time", work, "s"),
    ]


def _idle(services: Services, pool: Running) -> tuple[float, float, float]:
    """Wall seconds, those without the pool's, and CPU seconds of one incremental, which must be one."""
    served, began, worked = pool.busy_seconds(), time.perf_counter(), time.process_time()
    report = back_up(services)
    wall, work = time.perf_counter() - began, time.process_time() - worked
    if [(disk.level, disk.changed_bytes) for disk in report.disks] != [("incremental", 0)] * DISKS:
        raise AssertionError("that was no incremental of nothing")
    return wall, wall - (pool.busy_seconds() - served), work

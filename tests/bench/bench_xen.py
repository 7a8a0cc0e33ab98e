"""The xen source's own work: a bitmap of 16 TiB made into extents, and an incremental of a machine nothing changed on.

The simulated pool runs in a process of its own, its disks behind a real nbdkit in TLS. Waiting for nbdkit counts as our
own time.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from base64 import b64encode
from pathlib import Path
from random import Random

from adapters.port import Extent
from adapters.xen.bitmap import BLOCK_BYTES, decode
from tests.bench.figures import Figure, figure
from tests.bench.idle import DISKS, PLACES, TIB, measured, repository_on, write_some
from tests.support.xapi.apart import pool_apart
from tests.support.xapi.building import DiskSpec, MachineSpec

LARGE = 16 * TIB
AREAS = 10_000
ROUNDS = 5


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
        with (
            pool_apart(folder / "pool", machines, write_some) as pool,
            repository_on(pool, folder / "home", "xen") as services,
        ):
            idle = measured(services, pool)
    disks = f"Xen pool simulator, {DISKS} sparse disks of 1 TiB"
    return [
        figure(f"first full, {disks}, {PLACES} MiB of data each", idle.first, "s"),
        figure(f"incremental, no change, {disks}: our own time besides the pool's", idle.ours, "s", "<= 2"),
        figure("the same, the pool's time included", idle.wall, "s"),
        figure("the same, our CPU time", idle.work, "s"),
    ]

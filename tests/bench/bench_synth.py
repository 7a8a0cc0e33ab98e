"""A synthetic full of a chain of incrementals: resolved from the index, all rows recorded, no data read.

The chain's rows are made up and saved straight into the event log. Run alone: `python -m tests.bench synth`.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
from pathlib import Path

import numpy as np

from catalog.domain.machine import RestorePoint
from catalog.home import Home
from ingest.synth import synthesise
from ingest.wiring import InitOptions, Services, init_home, opened
from tests.bench.figures import Figure, figure
from tests.support.bench_home import seconds
from tests.support.recorded import Author, Change, rows_at

BLOCKS = 100_000
INCREMENTALS = 30
EXTENTS = 10_000
ROUNDS = 5


def run() -> list[Figure]:
    """Measure everything in a scratch directory."""
    with tempfile.TemporaryDirectory(prefix="hf-") as folder:
        home = Home(Path(folder) / "home")
        init_home(home, InitOptions())
        with opened(home) as services:
            of = _chain(services)
            services.catalog.catch_up()
            packs = list(services.store.packs())
            cold = [_synthesise(services, of, warm=False) for _ in range(ROUNDS)]
            warm = [_synthesise(services, of, warm=True) for _ in range(ROUNDS)]
            index = seconds(services.catalog.catch_up)
            if packs or list(services.store.packs()):
                raise AssertionError("a synthetic full must not touch a pack")
    name = f"synthetic full of {INCREMENTALS} incrementals x {EXTENTS:,} extents, {BLOCKS:,} blocks, no data read"
    return [
        figure(name, statistics.median(cold) * 1000, "ms", "<= 500"),
        figure("the same with a warm resolve cache", statistics.median(warm) * 1000, "ms"),
        figure(f"then bringing the index up to {2 * ROUNDS} of them", index * 1000, "ms"),
    ]


def _chain(services: Services) -> RestorePoint:
    random = np.random.default_rng(3)
    author = Author(services.log)
    machine_id = author.machine("bench")
    for number in range(INCREMENTALS + 1):
        blocks = np.arange(BLOCKS) if not number else np.sort(random.choice(BLOCKS, EXTENTS, replace=False))
        rows = rows_at(blocks.astype(np.uint32), number, max(1, len(blocks) // 256))
        author.backup(machine_id, {"vda": Change(rows, blocks=BLOCKS)}, name="bench")
    return services.catalog.machine_named("bench").restore_points[-1]


def _synthesise(services: Services, of: RestorePoint, *, warm: bool) -> float:
    if not warm:
        shutil.rmtree(services.home.checkpoint_dir, ignore_errors=True)
    state = services.catalog.machine_named("bench")
    made = []
    taken = seconds(lambda: made.append(synthesise(services, services.catalog.index_resolver(), state, of)))
    disk = made[0].disks[0]
    if (disk.read_bytes, disk.chunk_rows) != (0, BLOCKS):
        raise AssertionError(f"{disk.read_bytes} bytes were read for {disk.chunk_rows} rows")
    return taken

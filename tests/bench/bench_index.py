"""How fast events become the index, and how fast the index answers what backs a disk.

Rows are made up and saved straight into an event log: two disks, 10 million chunk rows. Run alone:
`python -m tests.bench.bench_index`.
"""

from __future__ import annotations

import json
import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import numpy as np

from catalog.domain import ids
from catalog.log import EventLog
from catalog.projections import TABLES, Projector, rebuild
from catalog.resolve import LakeRows, Resolver
from catalog.resolve.resolver import CHECKPOINT_EVERY
from storage.lake import Lake
from tests.bench.figures import Figure, figure
from tests.support.recorded import Author, Change, rows_at

TIB_BLOCKS = 1 << 22
SMALL_BLOCKS = 1 << 21
INCREMENTALS = 365
SMALL_INCREMENTALS = 30
CHANGED = 10_000
QUESTIONS = 60


def run(folder: Path | None = None) -> list[Figure]:
    """Measure everything; `folder` keeps the data, which otherwise goes."""
    with tempfile.TemporaryDirectory(prefix="holdfast-bench-") as temporary:
        root = folder or Path(temporary)
        machine_id, rows = _record(root / "events.sqlite")
        results = list(_projection(root, rows))
        results += _resolve(root, machine_id)
        return results


def _record(path: Path) -> tuple[UUID, int]:
    random = np.random.default_rng(7)
    with EventLog.create(path) as log:
        author = Author(log)
        machine_id = author.machine("bench", ("big", "small"))
        rows = 0
        for key, blocks, incrementals in (
            ("big", TIB_BLOCKS, INCREMENTALS),
            ("small", SMALL_BLOCKS, SMALL_INCREMENTALS),
        ):
            for number in range(incrementals + 1):
                changed = np.arange(blocks, dtype=np.uint32)
                if number:
                    changed = np.sort(random.choice(blocks, CHANGED, replace=False)).astype(np.uint32)
                packs = max(1, len(changed) // 256)
                author.backup(machine_id, {key: Change(rows_at(changed, number, packs), blocks=blocks)})
                rows += len(changed)
    return machine_id, rows


def _projection(root: Path, rows: int) -> Iterator[Figure]:
    with EventLog.open(root / "events.sqlite") as log, closing(Lake.create(root / "index", TABLES)) as lake:
        seconds = _timed(Projector(log, lake).catch_up)
    yield figure("projection events -> Parquet", rows / seconds, "rows/s", ">= 500000")
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        seconds, peak = pool.apply(_rebuild, (root,))
    yield figure(f"rebuild index of {rows / 1e6:.1f} M rows", seconds, "s", "<= 60")
    yield figure("rebuild index, peak RSS", peak / 1024**2, "MiB", "<= 1024")


def _rebuild(root: Path) -> tuple[float, int]:
    """In a process of its own: the time, and the most memory that it ever held, in bytes."""
    with EventLog.open(root / "events.sqlite") as log:
        seconds = _timed(lambda: rebuild(log, root / "index", clock=lambda: datetime.now(UTC)).close())
    return seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _resolve(root: Path, machine_id: UUID) -> Iterator[Figure]:
    with closing(Lake.open(root / "index", TABLES)) as lake:
        big, small = ids.disk_id(machine_id, "big"), ids.disk_id(machine_id, "small")
        resolver = Resolver(LakeRows(lake), root / "checkpoints")
        points = np.random.default_rng(1).integers(1, INCREMENTALS + 2, QUESTIONS).tolist()
        for seq in range(1, INCREMENTALS + 2, CHECKPOINT_EVERY):
            resolver.map(big, seq, digests=True)
        for name, digests, target in (("locations", False, "<= 100"), ("with digests", True, "<= 250")):
            taken = [
                _timed(lambda seq=seq, digests=digests: resolver.map(big, seq, digests=digests)) * 1000
                for seq in points
            ]
            for share in (50, 95):
                value = float(np.percentile(taken, share))
                what = f"resolve 1 TiB over {INCREMENTALS} incrementals, {name}, p{share}"
                yield figure(what, value, "ms", target)
        what = f"synthetic full of {SMALL_INCREMENTALS} incrementals x {CHANGED} extents, resolve"
        seq = SMALL_INCREMENTALS + 1
        seconds = _timed(lambda: Resolver(LakeRows(lake)).map(small, seq))
        yield figure(f"{what}, no checkpoint at all", seconds * 1000, "ms", "<= 1000")
        Resolver(LakeRows(lake), root / "checkpoints", checkpoint_every=seq).map(small, 1)
        after_full = Resolver(LakeRows(lake), root / "checkpoints", checkpoint_every=seq)
        seconds = _timed(lambda: after_full.map(small, seq))
        yield figure(f"{what}, a checkpoint of the full", seconds * 1000, "ms", "<= 500")


def _timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    for line in run(Path(sys.argv[1]) if len(sys.argv) > 1 else None):
        print(json.dumps(line))

"""What the lake costs: a commit to all tables late in its life, bytes of a chunk row, a plan over many files.

Run it with `python -m tests.bench.bench_lake`.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from storage.lake import Column, Lake, TableSpec
from storage.lake.parquet import DataFile
from tests.bench.figures import Figure, figure

COMMITS = 2_000
MEASURED = 200
CHUNK_ROWS = 1_000_000
PLANNED_FILES = 9_600

CHUNKS = TableSpec(
    "chunks",
    (
        Column("part", "int32", encoding="dictionary"),
        Column("disk_id", "varchar", encoding="dictionary"),
        Column("seq", "int64", encoding="delta"),
        Column("block", "int64", encoding="delta"),
        Column("digest", "blob", encoding="plain", fixed_bytes=32),
        Column("pack_id", "blob", encoding="dictionary", fixed_bytes=16),
        Column("pack_offset", "int64", encoding="delta"),
        Column("stored_bytes", "int64", encoding="delta"),
    ),
    "part",
    ("disk_id", "seq", "block"),
)
TABLES = tuple(replace(CHUNKS, name=f"table_{n}") for n in range(8))


def chunk_rows(rows: int, part: int = 7, seq: int = 1, seed: int = 1) -> pa.Table:
    """Chunk rows as a full backup makes them: random digests, packs of some 500 chunks, records end to end."""
    dice = np.random.default_rng(seed)
    stored = dice.integers(90_000, 180_000, rows)
    pack = np.arange(rows) // 500
    offsets = np.cumsum(stored) - stored
    packs = pa.array([dice.bytes(16) for _ in range(int(pack[-1]) + 1)], pa.binary(16))
    digests = pa.FixedSizeBinaryArray.from_buffers(pa.binary(32), rows, [None, pa.py_buffer(dice.bytes(32 * rows))])
    return pa.table(
        {
            "part": np.full(rows, part, np.int32),
            "disk_id": pa.array([f"5f2b1c9e-0000-4000-8000-{part:012d}"] * rows),
            "seq": np.full(rows, seq, np.int64),
            "block": np.arange(rows, dtype=np.int64),
            "digest": digests,
            "pack_id": packs.take(pa.array(pack)),
            "pack_offset": offsets - offsets[pack * 500],
            "stored_bytes": stored,
        }
    )


@contextmanager
def fresh(tables: tuple[TableSpec, ...]) -> Iterator[Lake]:
    """A new lake in a temporary folder."""
    with tempfile.TemporaryDirectory() as folder:
        lake = Lake.create(Path(folder) / "index", tables)
        try:
            yield lake
        finally:
            lake.close()


def write_batch(lake: Lake, position: int, rows: pa.Table) -> list[DataFile]:
    """Write and sync one file for each table."""
    files = []
    for spec in TABLES:
        with lake.writer(spec.name, 7, positions=(position, position)) as writer:
            writer.write(rows)
            files.append(writer.close())
    return files


def grow(lake: Lake, templates: list[DataFile], commits: int) -> None:
    """Commit copies of eight tiny files under new names, which are links to the same bytes."""
    for position in range(lake.position() + 1, lake.position() + commits + 1):
        files = [replace(file, path=f"part=7/{position:012d}-{n}.parquet") for n, file in enumerate(templates)]
        for file, template in zip(files, templates, strict=True):
            folder = lake.catalog.folder(file.table)
            (folder / file.path).hardlink_to(folder / template.path)
        lake.commit(files, expected=position - 1, position=position)


def p95_ms(seconds: list[float]) -> float:
    """The 95th percentile, in milliseconds."""
    return float(np.percentile(seconds, 95) * 1000)


def late_commits() -> tuple[float, float]:
    """p95 of a commit around the 2,000th, alone and with writing and syncing its eight files, in ms."""
    rows = chunk_rows(100)
    alone, whole = [], []
    with fresh(TABLES) as lake:
        grow(lake, write_batch(lake, 0, rows), COMMITS - MEASURED // 2)
        for _ in range(MEASURED):
            began = time.perf_counter()
            position = lake.position()
            files = write_batch(lake, position + 1, rows)
            written = time.perf_counter()
            lake.commit(files, expected=position, position=position + 1)
            ended = time.perf_counter()
            alone.append(ended - written)
            whole.append(ended - began)
    return p95_ms(alone), p95_ms(whole)


def bytes_a_row() -> float:
    """Parquet bytes a chunk row in one file of a million."""
    with fresh((CHUNKS,)) as lake, lake.writer("chunks", 7) as writer:
        writer.write(chunk_rows(CHUNK_ROWS))
        return writer.close().size_bytes / CHUNK_ROWS


def plan_ms() -> tuple[float, float]:
    """p95 of planning one table of 9,600 files: a range of points over all parts, and one disk's part."""
    with fresh((CHUNKS,)) as lake:
        templates = []
        for part in range(64):
            with lake.writer("chunks", part) as writer:
                writer.write(chunk_rows(10, part=part))
                templates.append(writer.close())
        files = []
        for number in range(PLANNED_FILES):
            template = templates[number % 64]
            path = f"part={template.part}/{number:012d}.parquet"
            folder = lake.catalog.folder("chunks")
            (folder / path).hardlink_to(folder / template.path)
            seq = str(number // 64)
            stats = tuple(replace(s, lo=seq, hi=seq) if s.column == "seq" else s for s in template.stats)
            files.append(replace(template, path=path, stats=stats))
        lake.commit(files, expected=0, position=1)
        part = {"part": (5, 5), "seq": (10, 40)}
        return _timed(lake, {"seq": (10, 12)}, 3 * 64), _timed(lake, part, 31)


def _timed(lake: Lake, where: dict[str, Any], expected: int) -> float:
    times = []
    for _ in range(50):
        began = time.perf_counter()
        found = len(lake.plan("chunks", where=where))
        times.append(time.perf_counter() - began)
        if found != expected:
            raise AssertionError(f"{found} files planned instead of {expected}")
    return p95_ms(times)


def run() -> list[Figure]:
    """Measure once."""
    alone, whole = late_commits()
    seq_plan, part_plan = plan_ms()
    return [
        figure("lake commit of one batch to all tables at the 2,000th commit, p95", alone, "ms", "<= 10"),
        figure("the same with writing and syncing its 8 files, p95", whole, "ms"),
        figure("index bytes a chunk row", bytes_a_row(), "B", "<= 40"),
        figure("lake plan at 9,600 files, range over all parts, p95", seq_plan, "ms"),
        figure("lake plan at 9,600 files, range in one part, p95", part_plan, "ms"),
    ]


if __name__ == "__main__":
    json.dump(run(), sys.stdout, indent=1)

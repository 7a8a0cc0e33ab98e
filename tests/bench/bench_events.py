"""What recording chunk rows costs: ours against one event per chunk, and the bytes a row takes in the file.

Run it with `python -m tests.bench.bench_events`. Ours is everything between numpy columns and a durable
transaction. The other is the event library's plain way, an aggregate with one declared event per chunk and
the default JSON, saved 1,000 at a time, which is its fastest.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path
from uuid import UUID

from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event

from catalog.log import EventLog
from storage.chunks.rows import ChunkRows
from tests.bench.figures import Figure, figure
from tests.support.log_events import chunk_events, chunk_rows

ROWS = 10_000
BATCHES = 200
BATCHES_PER_SAVE = 8
PLAIN_PER_SAVE = 1000
PLAIN_SECONDS = 2.0


class DiskOfEvents(Aggregate):
    """A disk with one event per chunk."""

    def __init__(self) -> None:
        self.chunks = 0

    @event("ChunkRecorded")
    def record(self, block: int, digest: str, pack: str, offset: int, stored: int) -> None:
        """Count the chunk; the event holds the rest."""
        self.chunks += 1


def recorded(folder: Path) -> tuple[float, float]:
    """Rows a second and bytes a row of the event log."""
    path = folder / "events.sqlite"
    rows = [chunk_rows(ROWS, first * ROWS) for first in range(BATCHES)]
    with EventLog.create(path) as log:
        began = time.perf_counter()
        events = chunk_events(rows)
        while batch := list(islice(events, BATCHES_PER_SAVE)):
            log.save(*batch)
        seconds = time.perf_counter() - began
    return ROWS * BATCHES / seconds, path.stat().st_size / (ROWS * BATCHES)


def recorded_one_by_one(folder: Path) -> float:
    """Rows a second of one event per chunk."""
    settings = {"PERSISTENCE_MODULE": "eventsourcing.sqlite", "SQLITE_DBNAME": str(folder / "plain.sqlite")}
    rows = chunk_rows(ROWS)
    with Application[UUID](settings) as application:
        disk, saved = DiskOfEvents(), 0
        began = time.perf_counter()
        while (seconds := time.perf_counter() - began) < PLAIN_SECONDS:
            for at in range(PLAIN_PER_SAVE):
                _record(disk, rows, (saved + at) % ROWS)
            application.save(disk)
            saved += PLAIN_PER_SAVE
    return saved / seconds


def _record(disk: DiskOfEvents, rows: ChunkRows, at: int) -> None:
    disk.record(
        block=int(rows.blocks[at]),
        digest=rows.digests[at].tobytes().hex(),
        pack=rows.packs[rows.pack_index[at]].hex(),
        offset=int(rows.offsets[at]),
        stored=int(rows.stored[at]),
    )


def run() -> list[Figure]:
    """Measure once; about six seconds."""
    with tempfile.TemporaryDirectory(prefix="holdfast-bench-") as folder:
        one_by_one = recorded_one_by_one(Path(folder))
        rows_per_second, bytes_per_row = recorded(Path(folder))
    return [
        figure("chunk rows recorded", rows_per_second, "rows/s", ">= 250000"),
        figure("chunk rows recorded vs one event per chunk", rows_per_second / one_by_one, "times", ">= 50"),
        figure("stored bytes a chunk row", bytes_per_row, "B", "<= 45"),
    ]


if __name__ == "__main__":
    json.dump(run(), sys.stdout, indent=1)
    print()

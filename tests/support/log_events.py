"""Small events and chunk rows for tests of the log."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from uuid import UUID

import numpy as np

from catalog.batches import SCHEMA_ID, encode_chunks
from catalog.domain.events import ChunksRecorded, LeftoverCleaned
from catalog.domain.ids import batch_stream
from storage.chunks.rows import ChunkRows

AT = datetime(2026, 3, 1, 4, 5, 6, 789012, tzinfo=UTC)
STREAM = UUID("5d0f1d5a-9b5e-4b53-8a35-0d3c5a1c0001")
OTHER = UUID("5d0f1d5a-9b5e-4b53-8a35-0d3c5a1c0002")


def note(version: int, text: str = "", stream: UUID = STREAM) -> LeftoverCleaned:
    """A small event."""
    return LeftoverCleaned(
        originator_id=stream, originator_version=version, recorded_at=AT, machine_id=OTHER, what=text, action=""
    )


def notes(count: int, stream: UUID = STREAM, first: int = 1) -> list[LeftoverCleaned]:
    """Small events in a row."""
    return [note(version, f"note {version}", stream) for version in range(first, first + count)]


def chunk_rows(count: int, first: int = 0, seed: int = 1) -> ChunkRows:
    """Rows as a first full leaves them: random digests and sizes, records one behind the other in 64 MiB packs."""
    random = np.random.default_rng([seed, first])
    stored = random.integers(20_000, 262_000, count).astype(np.uint32)
    ends = np.cumsum(stored, dtype=np.int64)
    packs = ends // (64 << 20)
    starts = np.searchsorted(packs, np.arange(int(packs[-1]) + 1 if count else 0))
    offsets = ends - stored - (ends - stored)[starts][packs] + 64
    return ChunkRows(
        blocks=np.arange(first, first + count, dtype=np.uint32),
        digests=random.integers(0, 256, (count, 32), dtype=np.uint8),
        packs=tuple(random.bytes(16) for _ in starts),
        pack_index=packs.astype(np.uint16),
        offsets=offsets.astype(np.uint32),
        stored=stored,
    )


def chunk_events(rows: Iterator[ChunkRows] | list[ChunkRows], run_id: UUID = STREAM) -> Iterator[ChunksRecorded]:
    """One event of the run's batch stream for each value of `rows`."""
    for version, part in enumerate(rows, start=1):
        yield ChunksRecorded(
            originator_id=batch_stream(run_id, OTHER),
            originator_version=version,
            recorded_at=AT,
            run_id=run_id,
            disk_id=OTHER,
            seq=1,
            schema_id=SCHEMA_ID,
            rows=len(part),
            first=int(part.blocks[0]),
            last=int(part.blocks[-1]),
            batch=encode_chunks(part),
        )

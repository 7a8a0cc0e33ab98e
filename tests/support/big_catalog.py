"""A catalog of many machines and a year of days, recorded as real events in the order of time and then projected.

    python -m tests.support.big_catalog HOME [MACHINES DAYS FULL_BLOCKS CHANGED_BLOCKS]

Rows are made up; nothing is in the packs they cite. One block in ten is of a pool that all machines share. The first
machine has a disk of 1 TiB. Every seventh point is verified, every 50th is partial, every 97th day is missed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from uuid import UUID, uuid5

import numpy as np
from numpy.random import Generator

from catalog.batches import SCHEMA_ID, batch_leaf, encode_chunks
from catalog.domain import ids
from catalog.domain.events import (
    ChunksRecorded,
    Event,
    MachineSeen,
    RestorePointCommitted,
    RestorePointVerified,
    RunClosed,
    RunOpened,
)
from catalog.domain.facts import DiskLeftOut, DiskPoint, DiskSeen
from catalog.home import Home
from catalog.merkle import merkle_root
from catalog.runtime import Catalog
from ingest.wiring import InitOptions, init_home
from storage.chunks.rows import ChunkRows
from tests.support.recorded import CHUNK_BYTES

BATCH_ROWS = 10_000
PACK_CHUNKS = 250
SHARED_DIGESTS = 100_000
FIRST_DAY = datetime(2026, 1, 1, tzinfo=UTC)
TIB_BLOCKS = 1 << 22
ONE_TRANSACTION = 64 << 20


@dataclass(frozen=True, slots=True)
class Size:
    """How much there is of it all."""

    machines: int = 200
    days: int = 365
    full_blocks: int = 80_000
    changed_blocks: int = 1_250


class Machine:
    """One machine's stream, and the last point of its one disk."""

    def __init__(self, repository: UUID, number: int, size: Size) -> None:
        self.source = f"site{number % 4}"
        self.name = f"vm-{number:03d}"
        self.machine_id = ids.machine_id(ids.source_id(repository, self.source), self.name)
        self.disk_id = ids.disk_id(self.machine_id, "vda")
        self.blocks = TIB_BLOCKS if number == 0 else max(2 * size.full_blocks, 1)
        self.full_blocks = self.blocks if number == 0 and size.machines >= 200 else size.full_blocks
        self.repository = repository
        self.version = 0
        self.seq = 0

    @cached_property
    def seen(self) -> DiskSeen:
        """Its disk, as the source shows it."""
        return DiskSeen(
            disk_id=self.disk_id,
            key="vda",
            label="vda",
            size_bytes=self.blocks * CHUNK_BYTES,
            identity=self.name,
            tracking="bitmap",
            granularity_bytes=65536,
        )

    def event(self, kind: type[Event], at: datetime, **fields: object) -> Event:
        """The next event of its stream."""
        self.version += 1
        return kind(originator_id=self.machine_id, originator_version=self.version, recorded_at=at, **fields)


class Writer:
    """Makes up the days, one after another."""

    def __init__(self, repository: UUID, size: Size) -> None:
        self.size = size
        self.random: Generator = np.random.default_rng(11)
        self.shared = self.random.integers(0, 256, (SHARED_DIGESTS, 32), np.uint8)
        self.machines = [Machine(repository, number, size) for number in range(size.machines)]

    def events(self) -> Iterator[Event]:
        """All events, in the order of time."""
        for machine in self.machines:
            source_id = ids.source_id(machine.repository, machine.source)
            yield machine.event(
                MachineSeen,
                FIRST_DAY,
                source_id=source_id,
                source=machine.source,
                key=machine.name,
                name=machine.name,
                disks=(machine.seen,),
            )
        for day in range(self.size.days):
            for number, machine in enumerate(self.machines):
                if (day + number) % 97 != 96:
                    at = FIRST_DAY + timedelta(days=day, hours=1, seconds=number * 60)
                    yield from self._backup(machine, day, at)

    def _backup(self, machine: Machine, day: int, at: datetime) -> Iterator[Event]:
        run_id = uuid5(machine.machine_id, f"run {day}")
        machine.seq += 1
        rows = self._rows(machine, run_id)
        batches = list(_batches(machine, run_id, rows, at))
        yield machine.event(RunOpened, at, run_id=run_id, label=f"holdfast-{run_id.hex}")
        yield from batches
        point_id = uuid5(run_id, "restore point")
        partial = (day + machine.seq) % 50 == 49
        left_out = DiskLeftOut(disk_id=run_id, label="vdb", reason="physical mapping", way_out="use an agent")
        yield machine.event(
            RestorePointCommitted,
            at + timedelta(seconds=20),
            restore_point_id=point_id,
            run_id=run_id,
            source=machine.source,
            machine=machine.name,
            origin="backup",
            result="partial" if partial else "complete",
            consistency="application",
            disks=(_point(machine, run_id, rows, batches),),
            left_out=(left_out,) if partial else (),
            taken_at=at,
        )
        yield machine.event(RunClosed, at + timedelta(seconds=21), run_id=run_id, outcome="completed")
        if machine.seq % 7 == 0:
            yield RestorePointVerified(
                originator_id=point_id,
                originator_version=1,
                recorded_at=at + timedelta(seconds=40),
                machine_id=machine.machine_id,
                level="content",
                result="ok",
                chunks=len(rows),
                checked_bytes=len(rows) * CHUNK_BYTES,
                problems=(),
            )

    def _rows(self, machine: Machine, run_id: UUID) -> ChunkRows:
        if machine.seq == 1:
            blocks = np.arange(machine.full_blocks, dtype=np.uint32)
        else:
            drawn = self.random.integers(0, machine.full_blocks, self.size.changed_blocks)
            blocks = np.unique(drawn).astype(np.uint32)
        count = len(blocks)
        digests = self.random.integers(0, 256, (count, 32), np.uint8)
        common = self.random.random(count) < 0.1
        digests[common] = self.shared[self.random.integers(0, SHARED_DIGESTS, int(common.sum()))]
        packs = -(-count // PACK_CHUNKS)
        return ChunkRows(
            blocks=blocks,
            digests=digests,
            packs=tuple(uuid5(run_id, f"pack {number}").bytes for number in range(packs)),
            pack_index=(np.arange(count) // PACK_CHUNKS).astype(np.uint16),
            offsets=(64 + np.arange(count) % PACK_CHUNKS * 150_000).astype(np.uint32),
            stored=self.random.integers(40_000, 149_000, count, np.uint32),
        )


def _batches(machine: Machine, run_id: UUID, rows: ChunkRows, at: datetime) -> Iterator[ChunksRecorded]:
    for version, low in enumerate(range(0, len(rows), BATCH_ROWS), start=1):
        cut = slice(low, low + BATCH_ROWS)
        first, last = int(rows.pack_index[cut][0]), int(rows.pack_index[cut][-1])
        part = ChunkRows(
            rows.blocks[cut],
            rows.digests[cut],
            rows.packs[first : last + 1],
            (rows.pack_index[cut] - first).astype(np.uint16),
            rows.offsets[cut],
            rows.stored[cut],
        )
        yield ChunksRecorded(
            originator_id=ids.batch_stream(run_id, machine.disk_id),
            originator_version=version,
            recorded_at=at,
            run_id=run_id,
            disk_id=machine.disk_id,
            seq=machine.seq,
            schema_id=SCHEMA_ID,
            rows=len(part),
            first=int(part.blocks[0]),
            last=int(part.blocks[-1]),
            batch=encode_chunks(part),
        )


def _point(machine: Machine, run_id: UUID, rows: ChunkRows, batches: list[ChunksRecorded]) -> DiskPoint:
    full = machine.seq == 1
    return DiskPoint(
        disk_id=machine.disk_id,
        label="vda",
        identity=machine.name,
        seq=machine.seq,
        parent_seq=None if full else machine.seq - 1,
        run_id=run_id,
        level="full" if full else "incremental",
        cause="first-backup" if full else "tracked",
        size_bytes=machine.blocks * CHUNK_BYTES,
        chunk_bytes=CHUNK_BYTES,
        changed_bytes=len(rows) * CHUNK_BYTES,
        read_bytes=len(rows) * CHUNK_BYTES,
        new_chunks=len(rows),
        stored_bytes=int(rows.stored.sum(dtype=np.int64)),
        chunk_rows=len(rows),
        zero_blocks=0,
        extent_rows=0,
        batches=len(batches),
        merkle_root=merkle_root([batch_leaf(batch) for batch in batches]),
        base_token=None,
    )


def make(home: Home, size: Size) -> int:
    """Record and project it all below `home`, which must not exist; return how many chunk rows there are."""
    config = init_home(home, InitOptions())
    rows = 0
    with Catalog.opened(home) as catalog:
        pending: list[Event] = []
        weight = 0
        for event in Writer(config.repository_id, size).events():
            pending.append(event)
            if isinstance(event, ChunksRecorded):
                rows += event.rows
                weight += len(event.batch)
            if weight > ONE_TRANSACTION and isinstance(event, RunClosed):
                catalog.log.save(*pending)
                pending, weight = [], 0
        catalog.log.save(*pending)
        catalog.catch_up()
    return rows


if __name__ == "__main__":
    print(make(Home(Path(sys.argv[1])), Size(*map(int, sys.argv[2:]))))  # noqa: T201 - what it was asked for

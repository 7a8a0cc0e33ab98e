"""Writes into an event log what backups would have recorded, from rows that the test makes up. No simulator."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from uuid import UUID, uuid5

import numpy as np
from numpy.typing import NDArray

from catalog.batches import SCHEMA_ID, batch_leaf, encode_chunks, encode_extents, encode_zeros
from catalog.domain import events, ids
from catalog.domain.events import Batch, Event, MachineSeen, RestorePointCommitted, RunClosed, RunOpened
from catalog.domain.facts import DiskPoint, DiskSeen
from catalog.log import EventLog
from catalog.merkle import merkle_root
from storage.chunks.rows import ChunkRows, ZeroRuns, empty_rows

REPOSITORY = UUID("00000000-0000-4000-8000-000000000001")
CHUNK_BYTES = 256 * 1024
NO_ZEROS = ZeroRuns(np.empty(0, np.uint32), np.empty(0, np.uint32))
Extents = tuple[NDArray[np.uint64], NDArray[np.uint64], NDArray[np.bool_]]
NO_EXTENTS: Extents = (np.empty(0, np.uint64), np.empty(0, np.uint64), np.empty(0, np.bool_))


@dataclass(frozen=True, slots=True)
class Change:
    """What one backup found of one disk; `full` starts a new chain, `parent` names another point than the last."""

    rows: ChunkRows = field(default_factory=empty_rows)
    zeros: ZeroRuns = NO_ZEROS
    extents: Extents = NO_EXTENTS
    blocks: int = 64
    full: bool = False
    parent: int | None = None


def rows_at(blocks: Sequence[int] | NDArray[np.uint32], salt: int, packs: int = 3) -> ChunkRows:
    """Chunks for these blocks; digests and places depend on block and salt, so that each write shows."""
    numbers = np.asarray(blocks, np.uint32)
    random = np.random.default_rng([salt, len(numbers), int(numbers.sum(dtype=np.uint64))])
    return ChunkRows(
        blocks=numbers,
        digests=random.integers(0, 256, (len(numbers), 32), np.uint8),
        packs=tuple(salt.to_bytes(8, "big") + number.to_bytes(8, "big") for number in range(packs)),
        pack_index=(np.arange(len(numbers)) * packs // max(1, len(numbers))).astype(np.uint16),
        offsets=(np.arange(len(numbers)) % 256 * CHUNK_BYTES + random.integers(64, 4096)).astype(np.uint32),
        stored=random.integers(60, CHUNK_BYTES, len(numbers), np.uint32),
    )


class Author:
    """Records machines and restore points; times are a minute apart, versions follow from the log."""

    def __init__(self, log: EventLog, *, batch_rows: int = 10_000) -> None:
        self.log = log
        self.batch_rows = batch_rows
        self._minutes = 0
        self._last: dict[UUID, DiskPoint] = {}

    def now(self) -> datetime:
        """The next minute."""
        self._minutes += 1
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=self._minutes)

    def skip(self, time: timedelta) -> None:
        """Let time pass."""
        self._minutes += time // timedelta(minutes=1)

    def save(self, stream: UUID, make: Callable[..., Event], **fields: object) -> Event:
        """Record one event at the end of a stream."""
        version = self.log.version(stream) + 1
        event = make(originator_id=stream, originator_version=version, recorded_at=self.now(), **fields)
        self.log.save(event)
        return event

    def machine(self, name: str, disks: Sequence[str] = ("vda",), source: str = "lab") -> UUID:
        """A machine is seen; return its id."""
        source_id = ids.source_id(REPOSITORY, source)
        machine_id = ids.machine_id(source_id, name)
        seen = tuple(
            DiskSeen(
                disk_id=ids.disk_id(machine_id, key),
                key=key,
                label=key,
                size_bytes=64 * CHUNK_BYTES,
                identity=f"{name}/{key}",
                tracking="bitmap",
                granularity_bytes=65536,
            )
            for key in disks
        )
        self.save(machine_id, MachineSeen, source_id=source_id, source=source, key=f"key-{name}", name=name, disks=seen)
        return machine_id

    def run_id(self) -> UUID:
        """A run of its own for whoever records an event next."""
        return uuid5(REPOSITORY, f"run behind {self.log.position()}")

    def backup(
        self, machine_id: UUID, changes: Mapping[str, Change], *, name: str = "vm", commit: bool = True, **more: object
    ) -> UUID:
        """Record a run with its batches, and unless told otherwise its restore point; return the point's id.

        `more` are fields of the restore point's event, instead of the usual.
        """
        run = self.run_id()
        self.save(machine_id, RunOpened, run_id=run, label=f"holdfast-{run}")
        points = tuple(self.disk(run, ids.disk_id(machine_id, key), change) for key, change in changes.items())
        point_id = uuid5(run, "restore point")
        if commit:
            usual = {"source": "lab", "machine": name, "origin": "backup", "result": "complete", "consistency": "crash"}
            about = {"restore_point_id": point_id, "run_id": run, "disks": points}
            self.save(machine_id, RestorePointCommitted, **about, **usual | more)
            self.remember(*points)
        self.save(machine_id, RunClosed, run_id=run, outcome="completed" if commit else "interrupted")
        return point_id

    def remember(self, *points: DiskPoint) -> None:
        """These were committed: later points of their disks count on from here."""
        self._last.update({point.disk_id: point for point in points})

    def disk(self, run: UUID, disk_id: UUID, change: Change) -> DiskPoint:
        """Record the batches of one disk; return what seals them."""
        last = self._last.get(disk_id)
        seq = last.seq + 1 if last else 1
        full = change.full or last is None
        leaves = []
        batches = self._batches(run, disk_id, seq, change)
        while some := list(islice(batches, 16)):
            self.log.save(*some)
            leaves += [batch_leaf(batch) for batch in some]
        stored = int(change.rows.stored.sum(dtype=np.int64))
        return DiskPoint(
            disk_id=disk_id,
            label="vda",
            identity="disk",
            seq=seq,
            parent_seq=None if full or last is None else change.parent or last.seq,
            run_id=run,
            level="full" if full else "incremental",
            cause="first" if last is None else "tracked",
            size_bytes=change.blocks * CHUNK_BYTES,
            chunk_bytes=CHUNK_BYTES,
            changed_bytes=len(change.rows) * CHUNK_BYTES,
            read_bytes=len(change.rows) * CHUNK_BYTES,
            new_chunks=len(change.rows),
            stored_bytes=stored,
            chunk_rows=len(change.rows),
            zero_blocks=change.zeros.blocks,
            extent_rows=len(change.extents[0]),
            batches=len(leaves),
            merkle_root=merkle_root(leaves),
            base_token=None,
        )

    def _batches(self, run: UUID, disk_id: UUID, seq: int, change: Change) -> Iterator[Batch]:
        for version, (kind, rows, first, last, encoded) in enumerate(self._encoded(change), start=1):
            yield kind(
                originator_id=ids.batch_stream(run, disk_id),
                originator_version=version,
                recorded_at=self.now(),
                run_id=run,
                disk_id=disk_id,
                seq=seq,
                schema_id=SCHEMA_ID,
                rows=rows,
                first=first,
                last=last,
                batch=encoded,
            )

    def _encoded(self, change: Change) -> Iterator[tuple[type[Batch], int, int, int, bytes]]:
        step = self.batch_rows
        starts, lengths, zeros = change.extents
        for low in range(0, len(starts), step):
            cut = slice(low, low + step)
            end = int(starts[cut][-1] + lengths[cut][-1]) - 1
            encoded = encode_extents(starts[cut], lengths[cut], zeros[cut])
            yield events.ExtentsRecorded, len(starts[cut]), int(starts[low]), end, encoded
        for low in range(0, len(change.rows), step):
            rows = part_of_rows(change.rows, slice(low, low + step))
            yield events.ChunksRecorded, len(rows), int(rows.blocks[0]), int(rows.blocks[-1]), encode_chunks(rows)
        for low in range(0, len(change.zeros), step):
            runs = ZeroRuns(change.zeros.starts[low : low + step], change.zeros.counts[low : low + step])
            end = int(runs.starts[-1]) + int(runs.counts[-1]) - 1
            yield events.ZerosRecorded, len(runs), int(runs.starts[0]), end, encode_zeros(runs)


def part_of_rows(rows: ChunkRows, cut: slice) -> ChunkRows:
    """Some consecutive rows, and the packs that they need."""
    used, index = np.unique(rows.pack_index[cut], return_inverse=True)
    packs = tuple(rows.packs[number] for number in used.tolist())
    return ChunkRows(
        rows.blocks[cut], rows.digests[cut], packs, index.astype(np.uint16), rows.offsets[cut], rows.stored[cut]
    )

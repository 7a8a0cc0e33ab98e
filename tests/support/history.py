"""Random histories of a catalog, recorded as real events: machines renamed, disks resized, chains that fork, deletions.

Everything follows from the seed. Texts and digests come from small pools, so that things meet each other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from random import Random
from uuid import UUID, uuid5

import msgspec
import numpy as np

from catalog.domain import events, ids
from catalog.domain.facts import DiskLeftOut, DiskPoint, DiskSeen
from catalog.log import EventLog
from storage.chunks.rows import ZeroRuns
from tests.support.recorded import CHUNK_BYTES, REPOSITORY, Author, Change, rows_at

SOURCES = ("lab", "prod", "prod east")
NAMES = ("web", "db", "mail\x1b[31m", "wéb", "a/b")
DIGESTS = [hashlib.sha256(bytes([number])).digest() for number in range(6)]
BLOCKS = 24


@dataclass
class Guest:
    """A machine as the history has it now."""

    source: str
    key: str
    name: str
    disks: dict[str, int] = field(default_factory=dict)
    excluded: set[str] = field(default_factory=set)
    points: list[UUID] = field(default_factory=list)
    seqs: dict[str, list[int]] = field(default_factory=dict)

    @property
    def machine_id(self) -> UUID:
        """Its identifier."""
        return ids.machine_id(ids.source_id(REPOSITORY, self.source), self.key)

    def disk_id(self, disk: str) -> UUID:
        """The identifier of one of its disks."""
        return ids.disk_id(self.machine_id, disk)


class History:
    """Records one random step at a time."""

    def __init__(self, log: EventLog, seed: int) -> None:
        self.random = Random(seed)
        self.author = Author(log, batch_rows=4)
        self.guests: list[Guest] = []
        self._salt = 0

    def step(self) -> None:
        """Record whatever happens next."""
        kinds = [self.meet, self.backup, self.backup, self.backup, self.verify, self.delete, self.fail, self.other]
        self.random.choice(kinds if len(self.guests) > 1 else [self.meet])()

    def steps(self, count: int) -> None:
        """Several steps."""
        for _ in range(count):
            self.step()

    def meet(self) -> None:
        """A machine is seen: a new one, or one that changed its name or disks."""
        random = self.random
        if len(self.guests) < 2 or random.random() < 0.4:
            self.guests.append(Guest(random.choice(SOURCES), f"key {len(self.guests)}", random.choice(NAMES)))
        guest = random.choice([self.guests[-1], random.choice(self.guests)])
        guest.name = random.choice([guest.name, random.choice(NAMES)])
        for disk in ("vda", "vdb"):
            if disk == "vda" or random.random() < 0.4:
                guest.disks[disk] = random.randint(4, BLOCKS)
        guest.excluded = {"vdb"} & set(guest.disks) if random.random() < 0.3 else set()
        self.see(guest)

    def see(self, guest: Guest) -> None:
        """Record a machine as it is now."""
        self.author.save(
            guest.machine_id,
            events.MachineSeen,
            source_id=ids.source_id(REPOSITORY, guest.source),
            source=guest.source,
            key=guest.key,
            name=guest.name,
            disks=tuple(self._seen(guest, disk) for disk in guest.disks),
        )

    def backup(self) -> None:
        """A run, which commits a restore point or dies before it does."""
        guest, run = self.random.choice(self.guests), self.author.run_id()
        self.author.save(guest.machine_id, events.RunOpened, run_id=run, label="holdfast")
        if self.random.random() < 0.5:
            self.author.save(
                run, events.SnapshotRequested, machine_id=guest.machine_id, label="l", disks=(), consistency="crash"
            )
        disks = {disk: self._disk(guest, run, disk) for disk in guest.disks if disk not in guest.excluded}
        if disks and self.random.random() < 0.8:
            self._commit(guest, run, disks)
        self.author.save(guest.machine_id, events.RunClosed, run_id=run, outcome="completed")

    def verify(self) -> None:
        """A restore point is read back."""
        guest = self.random.choice(self.guests)
        if guest.points:
            self.author.save(
                self.random.choice(guest.points),
                events.RestorePointVerified,
                machine_id=guest.machine_id,
                level=self.random.choice(["stored", "content"]),
                result=self.random.choice(["ok", "ok", "damaged"]),
                chunks=1,
                checked_bytes=2,
                problems=(),
            )

    def delete(self) -> None:
        """A restore point is withdrawn."""
        guest = self.random.choice(self.guests)
        if guest.points and self.random.random() < 0.6:
            point = guest.points.pop(self.random.randrange(len(guest.points)))
            self.author.save(
                guest.machine_id,
                events.RestorePointDeleted,
                restore_point_id=point,
                actor="ann",
                rule="manual",
                reason="\x1b]0;gone\x07",
                kept_for=(),
            )

    def fail(self) -> None:
        """A backup fails, or is completed."""
        guest, run = self.random.choice(self.guests), self.author.run_id()
        common = {"machine_id": guest.machine_id}
        self.author.save(run, events.BackupStarted, **common, source="s", machine="m", label="l", full_requested=False)
        if self.random.random() < 0.6:
            self.author.save(run, events.BackupFailed, **common, kind="unavailable", code="x", why="y")
        else:
            self.author.save(run, events.BackupCompleted, **common, restore_point_id=run)

    def other(self) -> None:
        """Something that belongs to no machine."""
        source = uuid5(REPOSITORY, f"other {self.author.log.position()}")
        self.author.save(source, events.SourceAdded, name="new", kind="image", settings={})

    def _seen(self, guest: Guest, disk: str) -> DiskSeen:
        excluded = disk in guest.excluded
        return DiskSeen(
            disk_id=guest.disk_id(disk),
            key=disk,
            label=f"{disk} of {guest.key}",
            size_bytes=guest.disks[disk] * CHUNK_BYTES,
            identity=disk,
            tracking="bitmap",
            granularity_bytes=65536,
            excluded_reason="independent" if excluded else None,
            way_out="an agent inside" if excluded else None,
        )

    def _disk(self, guest: Guest, run: UUID, disk: str) -> DiskPoint:
        random, blocks = self.random, guest.disks[disk]
        self._salt += 1
        rows = rows_at(sorted(random.sample(range(blocks), random.randint(1, blocks))), self._salt)
        digests = b"".join(random.choice(DIGESTS) for _ in range(len(rows)))
        free = sorted(set(range(blocks)) - set(rows.blocks.tolist()))
        zeros = [block for block in free if random.random() < 0.3]
        change = Change(
            rows=replace(rows, digests=np.frombuffer(digests, np.uint8).reshape(-1, 32)),
            zeros=_runs(zeros),
            extents=(
                np.array([0, CHUNK_BYTES], np.uint64),
                np.array([CHUNK_BYTES, 5], np.uint64),
                np.array([False, True]),
            ),
            blocks=blocks,
            full=random.random() < 0.2,
            parent=random.choice([None, None, *guest.seqs.get(disk, [])[-3:]]),
        )
        point = self.author.disk(run, guest.disk_id(disk), change)
        short = random.choice([0, 0, 1000])
        return msgspec.structs.replace(point, label=f"{disk} of {guest.key}", size_bytes=point.size_bytes - short)

    def _commit(self, guest: Guest, run: UUID, disks: dict[str, DiskPoint]) -> None:
        point = uuid5(run, "restore point")
        left_out = tuple(
            DiskLeftOut(disk_id=guest.disk_id(disk), label=f"{disk} of {guest.key}", reason="independent", way_out="-")
            for disk in sorted(guest.excluded)
        )
        self.author.save(
            guest.machine_id,
            events.RestorePointCommitted,
            restore_point_id=point,
            run_id=run,
            source=guest.source,
            machine=guest.name,
            origin="backup",
            result="partial" if left_out else "complete",
            consistency="crash",
            disks=tuple(disks.values()),
            left_out=left_out,
            taken_at=self.random.choice([None, None, self._earlier()]),
        )
        guest.points.append(point)
        for disk, found in disks.items():
            guest.seqs.setdefault(disk, []).append(found.seq)
            self.author.remember(found)

    def _earlier(self) -> datetime:
        return self.author.now() - timedelta(minutes=self.random.randint(0, 60))


def _runs(blocks: Sequence[int]) -> ZeroRuns:
    numbers = np.array(blocks, np.uint32)
    parts = [part for part in np.split(numbers, np.flatnonzero(np.diff(numbers) != 1) + 1) if len(part)]
    return ZeroRuns(
        np.array([part[0] for part in parts], np.uint32), np.array([len(part) for part in parts], np.uint32)
    )

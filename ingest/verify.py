"""Reading restore points back: is every byte they need still there and still right?

Imports `catalog` and `storage`. `stored` hashes the packs as they lie and compares with what was recorded when
they were sealed; `content` decrypts, decompresses and re-hashes each chunk. What is found is an event.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from catalog.configuration import configuration_of, configuration_rows
from catalog.domain.events import PackSealed, RestorePointVerified
from catalog.domain.facts import DiskPoint
from catalog.domain.ids import pack_stream
from catalog.domain.machine import RestorePoint
from ingest.configuration import check_configuration
from ingest.progress import Progress
from ingest.signals import go_on, never
from ingest.streams import StreamWriter
from ingest.wiring import Services
from storage.chunks.rows import ChunkRows
from storage.errors import Corrupt, HoldfastError

VerifyLevel = Literal["stored", "content"]
MAX_PROBLEMS = 100


@dataclass(slots=True)
class Findings:
    """What verifying one restore point came to."""

    chunks: int = 0
    checked_bytes: int = 0
    problems: list[str] = field(default_factory=list)

    def add(self, problem: str) -> None:
        """Keep a problem once; of very many, the first hundred tell the story."""
        if problem not in self.problems and len(self.problems) < MAX_PROBLEMS:
            self.problems.append(problem)


class Verifier:
    """Verifies restore points one after another; what several of them share is read once."""

    def __init__(
        self, services: Services, level: VerifyLevel, progress: Progress, stop: Callable[[], bool] = never
    ) -> None:
        self._services = services
        self._stop = stop
        self._level = level
        self._progress = progress
        self._packs: dict[bytes, tuple[str, ...]] = {}
        self._good: dict[bytes, NDArray[np.uint32]] = {}
        self._distrusted: set[bytes] = set()

    def verify(self, point: RestorePoint) -> RestorePointVerified:
        """Read one restore point back, record the outcome and return it."""
        outcome = self.outcome(point, self.read(point))
        self._services.log.save(outcome)
        return outcome

    def read(self, point: RestorePoint) -> Findings:
        """Read one restore point back. Raises Interrupted."""
        findings = Findings()
        for disk in point.disks:
            self._progress.disk(disk.label, disk.size_bytes)
            try:
                self._disk(point, disk, findings)
            except HoldfastError as error:
                findings.add(f"{disk.label}: {error}")
        try:
            self._configuration(point, findings)
        except HoldfastError as error:
            findings.add(f"configuration: {error}")
        return findings

    def outcome(self, point: RestorePoint, findings: Findings) -> RestorePointVerified:
        """What was found, as the next event of the point's stream; it is not saved yet."""
        stream = StreamWriter(self._services.log, point.restore_point_id, self._services.clock)
        return stream.make(
            RestorePointVerified,
            machine_id=point.machine_id,
            level=self._level,
            result="damaged" if findings.problems else "ok",
            chunks=findings.chunks,
            checked_bytes=findings.checked_bytes,
            problems=tuple(findings.problems),
        )

    def _disk(self, point: RestorePoint, disk: DiskPoint, findings: Findings) -> None:
        resolver = self._services.catalog.log_resolver(point.machine_id)
        for window in resolver.windows(disk.disk_id, disk.seq, digests=True):
            for rows in window.rows():
                self._rows(rows, disk.label, findings)

    def _configuration(self, point: RestorePoint, findings: Findings) -> None:
        event = configuration_of(self._services.log, point.run_id)
        if event is None:
            return
        rows, before = configuration_rows(event), len(findings.problems)
        self._rows(rows, "configuration", findings)
        if self._level == "content" and len(findings.problems) == before:
            check_configuration(
                self._services.store, event, rows, lambda name, error: findings.add(f"configuration: {name}: {error}")
            )

    def _rows(self, rows: ChunkRows, label: str, findings: Findings) -> None:
        for pack in rows.packs:
            go_on(self._stop)
            for problem in self._pack(pack, findings):
                findings.add(problem)
        go_on(self._stop)
        if self._level == "content":
            self._content(rows, label, findings)
        else:
            findings.chunks += len(rows)

    def _pack(self, pack_id: bytes, findings: Findings) -> tuple[str, ...]:
        if pack_id not in self._packs:
            self._packs[pack_id] = self._check_pack(pack_id, findings)
        return self._packs[pack_id]

    def _check_pack(self, pack_id: bytes, findings: Findings) -> tuple[str, ...]:
        stream = pack_stream(self._services.config.repository_id, pack_id)
        recorded = next((event for event in self._services.log.stream(stream) if isinstance(event, PackSealed)), None)
        if recorded is None:
            return (f"pack {pack_id.hex()}: no event says that it was sealed",)
        try:
            if self._services.store.sealed(pack_id).body_hash != recorded.body_hash:
                raise Corrupt(f"pack {pack_id.hex()}: it is not the pack that was sealed", code="pack-differs")
            if self._level == "content":
                return ()
            report = self._services.store.verify_pack(pack_id, level="stored")
            if report.problems:
                raise Corrupt("; ".join(report.problems), code="pack-stored")
        except HoldfastError as error:
            self._distrust(pack_id, error)
            return (str(error),)
        findings.checked_bytes += report.checked_bytes
        self._progress.advance(report.checked_bytes)
        return ()

    def _distrust(self, pack_id: bytes, error: HoldfastError) -> None:
        """Let nothing new cite a damaged pack. A missing one needs no word: its store may only be away."""
        if error.kind == "corrupt" and pack_id not in self._distrusted:
            self._services.damaged.record(pack_id, str(error))
            self._distrusted.add(pack_id)

    def _content(self, rows: ChunkRows, label: str, findings: Findings) -> None:
        fresh = self._unseen(rows)
        findings.chunks += len(rows)

        def note(block: int, error: HoldfastError) -> None:
            findings.add(f"{label}: block {block}: {error}")
            if error.code != "row-impossible":
                row = int(np.searchsorted(fresh.blocks, block))
                self._distrust(fresh.packs[int(fresh.pack_index[row])], error)

        before = len(findings.problems)
        done = self._services.store.scatter(fresh, _ignore, on_bad=note)
        findings.checked_bytes += done
        self._progress.advance(done)
        if len(findings.problems) == before:
            self._remember(fresh)

    def _unseen(self, rows: ChunkRows) -> ChunkRows:
        keep = np.ones(len(rows), np.bool_)
        for number, pack in enumerate(rows.packs):
            if pack in self._good:
                keep &= (rows.pack_index != number) | ~np.isin(rows.offsets, self._good[pack])
        return ChunkRows(
            rows.blocks[keep],
            rows.digests[keep],
            rows.packs,
            rows.pack_index[keep],
            rows.offsets[keep],
            rows.stored[keep],
        )

    def _remember(self, rows: ChunkRows) -> None:
        for number, pack in enumerate(rows.packs):
            offsets = rows.offsets[rows.pack_index == number]
            known = self._good.get(pack)
            self._good[pack] = np.unique(offsets if known is None else np.concatenate([known, offsets]))


def _ignore(_block: int, _data: memoryview) -> None:
    """Verified bytes are not needed."""


def check_catalog(services: Services) -> list[str]:
    """Verify the event log's chain and the index's files; return what is wrong with them."""
    report = services.log.verify_chain()
    problems = [] if report.ok else [f"events: position {report.bad_position}: {report.problem}"]
    try:
        found = services.catalog.index_problems()
    except HoldfastError as error:
        found = [str(error)]
    return problems + [f"index: {problem}" for problem in found]

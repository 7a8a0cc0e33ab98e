"""Which point of a chain supplies which share of a disk. Imports `catalog` and `storage`.

What a point is made of never changes, so what was worked out is kept, for the last few thousand disks asked about.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from catalog.domain.facts import DiskPoint
from catalog.queries.asked import Asked, Page, page
from catalog.queries.moment import Moment, time_of
from catalog.queries.points import PointDisk, disk_rows, disks_of
from catalog.queries.rows import ProvenanceRow
from catalog.resolve.rows import RowSource, blocks_of

WINDOW_BLOCKS = 1 << 24
KEPT = 4096

Supply = dict[int, tuple[int, int]]
"""Blocks and bytes by the seq of the point that supplies them."""


class Provenance:
    """Works it out from one row source. Safe to use from several threads."""

    def __init__(self, rows: RowSource) -> None:
        self._rows = rows
        self._known: OrderedDict[tuple[UUID, int], Supply] = OrderedDict()
        self._lock = threading.Lock()

    def page(self, moment: Moment, asked: Asked, restore_point_id: UUID) -> Page[ProvenanceRow]:
        """See `CatalogReads.provenance`."""
        rows = [row for disk in disks_of(moment, asked.scope, restore_point_id) for row in self._of(moment, disk)]
        return page(asked, moment.position, rows, lambda row: (row.label, str(row.disk_id), row.seq), lambda row: row)

    def _of(self, moment: Moment, disk: PointDisk) -> list[ProvenanceRow]:
        table = moment.table("disk_points")
        supply = self._supply(disk.disk_id, disk.seq)
        total = sum(blocks for blocks, _ in supply.values())
        rows = []
        for row in disk_rows(moment, disk.disk).tolist():
            seq = int(table["seq"][row])
            if seq in supply:
                blocks, size = supply[seq]
                rows.append(
                    ProvenanceRow(
                        disk_id=disk.disk_id,
                        label=disk.label,
                        seq=seq,
                        restore_point_id=moment.id(int(table["restore_point_id"][row]), "point"),
                        recorded_at=time_of(int(table["recorded_at"][row])),
                        blocks=blocks,
                        bytes=size,
                        share=blocks / total,
                    )
                )
        return rows

    def _supply(self, disk_id: UUID, seq: int) -> Supply:
        with self._lock:
            if (disk_id, seq) in self._known:
                self._known.move_to_end((disk_id, seq))
                return self._known[disk_id, seq]
        found = self._work_out(self._rows.chain(disk_id, seq))
        with self._lock:
            self._known[disk_id, seq] = found
            while len(self._known) > KEPT:
                self._known.popitem(last=False)
        return found

    def _work_out(self, chain: Sequence[DiskPoint]) -> Supply:
        point = chain[-1]
        total = blocks_of(point)
        counts = np.zeros(len(chain) + 1, np.int64)
        last = 0
        for start in range(0, total, WINDOW_BLOCKS):
            suppliers = self._suppliers(chain, start, min(WINDOW_BLOCKS, total - start))
            counts += np.bincount(suppliers, minlength=len(counts))
            last = int(suppliers[-1])
        sizes = counts * point.chunk_bytes
        sizes[last] -= total * point.chunk_bytes - point.size_bytes
        found = {}
        for place, supplier in enumerate(chain, start=1):
            if counts[place]:
                found[supplier.seq] = int(counts[place]), int(sizes[place])
        return found

    def _suppliers(self, chain: Sequence[DiskPoint], start: int, count: int) -> NDArray[np.int32]:
        """For each block the place in the chain, from 1, of the point whose chunk it is; 0 for none."""
        found = np.zeros(count, np.int32)
        place = {point.seq: number for number, point in enumerate(chain, start=1)}
        current = None
        for delta in self._rows.deltas(chain, start, count, digests=False):
            if delta.seq != current:
                current = delta.seq
                found[max(0, blocks_of(chain[place[current] - 1]) - start) :] = 0
            for first, length in zip(delta.zeros.starts.tolist(), delta.zeros.counts.tolist(), strict=True):
                found[max(0, first - start) : max(0, first + length - start)] = 0
            blocks = delta.rows.blocks.astype(np.int64) - start
            found[blocks[(blocks >= 0) & (blocks < count)]] = place[delta.seq]
        return found

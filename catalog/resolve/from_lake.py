"""Rows from the index. Imports `catalog.domain`, `storage.lake` and `storage.chunks`.

Points are read in groups of bounded size, one scan a group.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from catalog.domain import ids
from catalog.domain.facts import DiskPoint
from catalog.resolve.blockmap import PIECE_BLOCKS, empty_zeros
from catalog.resolve.rows import Delta, PointBook
from storage.chunks.rows import DIGEST_BYTES, ChunkRows, ZeroRuns, empty_rows
from storage.errors import NotFound
from storage.lake import Lake
from storage.lake.tables import Where

GROUP_ROWS = 2_000_000
LOCATION = ("seq", "block", "pack_id", "pack_offset", "stored_bytes")
POINT_FIELDS = tuple(field.name for field in msgspec.structs.fields(DiskPoint))


class LakeRows:
    """All disks, read from the newest snapshot of the lake."""

    def __init__(self, lake: Lake) -> None:
        self._lake = lake
        self._book = PointBook(self._read_points)

    def chain(self, disk_id: UUID, seq: int) -> tuple[DiskPoint, ...]:
        """The full and every point after it up to `seq`, oldest first. Raises NotFound, Corrupt."""
        try:
            return self._book.chain(disk_id, seq)
        except NotFound as error:
            error.hint = "let the index catch up with the log"
            raise

    def deltas(self, points: Sequence[DiskPoint], first_block: int, count: int, *, digests: bool) -> Iterator[Delta]:
        """Yield what `points` wrote to these blocks."""
        for group in _groups(points):
            scan = self._scan(group, first_block, first_block + count, digests=digests)
            zeros = self._zeros(group, first_block, first_block + count)
            for point in group:
                yield Delta(point.seq, empty_rows(), zeros.get(point.seq, empty_zeros()))
                yield from scan.of(point.seq)

    def _read_points(self, disk_id: UUID) -> dict[int, DiskPoint]:
        points = {}
        for batch in self._lake.read("disk_points", POINT_FIELDS, where=_of_disk(disk_id)):
            for row in batch.to_pylist():
                point = msgspec.convert(row, DiskPoint)
                points[point.seq] = point
        return points

    def _scan(self, group: Sequence[DiskPoint], start: int, end: int, *, digests: bool) -> _Scan:
        where = {**_of_disk(group[0].disk_id), "seq": _span(group), "block": (start, end - 1)}
        columns = (*LOCATION, "digest") if digests else LOCATION
        batches = (
            [] if start >= end else list(self._lake.read("chunks", columns, where=where, dictionaries=("pack_id",)))
        )
        return _Scan.of_batches([batch for batch in batches if batch.num_rows])

    def _zeros(self, group: Sequence[DiskPoint], start: int, end: int) -> dict[int, ZeroRuns]:
        """Runs by point, of the points that have some."""
        having = [point for point in group if point.zero_blocks]
        if not having or start >= end:
            return {}
        chunk_bytes = having[0].chunk_bytes
        where: Where = {
            **_of_disk(group[0].disk_id),
            "seq": _span(having),
            "kind": ("stored_zero", "stored_zero"),
            "start_bytes": (None, end * chunk_bytes - 1),
        }
        found: dict[int, list[NDArray[np.int64]]] = {}
        for batch in self._lake.read("extents", ("seq", "start_bytes", "length_bytes"), where=where):
            table = np.stack([column.to_numpy(zero_copy_only=False) for column in batch.columns], axis=1)
            for seq in np.unique(table[:, 0]).tolist():
                found.setdefault(seq, []).append(table[table[:, 0] == seq, 1:])
        return {seq: _runs(np.concatenate(parts), chunk_bytes) for seq, parts in found.items()}


@dataclass(frozen=True, slots=True)
class _Scan:
    """Rows of several points, ascending by point and block; `packs` are what `pack` counts in."""

    seq: NDArray[np.int64]
    block: NDArray[np.int64]
    packs: tuple[bytes, ...]
    pack: NDArray[np.int32]
    offset: NDArray[np.int64]
    stored: NDArray[np.int64]
    digest: NDArray[np.uint8] | None

    @classmethod
    def of_batches(cls, batches: Sequence[pa.RecordBatch]) -> _Scan:
        if not batches:
            none = np.empty(0, np.int64)
            return cls(none, none, (), none.astype(np.int32), none, none, None)
        table = pa.Table.from_batches(batches)
        seq, block, offset, stored = (
            table.column(name).to_numpy() for name in ("seq", "block", "pack_offset", "stored_bytes")
        )
        packs = table.column("pack_id").unify_dictionaries().combine_chunks()
        names = tuple(bytes.fromhex(name) for name in packs.dictionary.to_pylist())
        pack = packs.indices.to_numpy()
        digest = _digests(table.column("digest")) if "digest" in table.column_names else None
        key = seq << 32 | block
        if len(key) > 1 and not bool((key[1:] > key[:-1]).all()):
            order = np.argsort(key, kind="stable")
            seq, block, offset, stored, pack = (column[order] for column in (seq, block, offset, stored, pack))
            digest = None if digest is None else digest[order]
        return cls(seq, block, names, pack, offset, stored, digest)

    def of(self, seq: int) -> Iterator[Delta]:
        """The rows of one point, in pieces."""
        low, high = np.searchsorted(self.seq, [seq, seq + 1]).tolist()
        for start in range(low, high, PIECE_BLOCKS):
            yield Delta(seq, self._rows(slice(start, min(start + PIECE_BLOCKS, high))), empty_zeros())

    def _rows(self, cut: slice) -> ChunkRows:
        used = np.zeros(len(self.packs), bool)
        used[self.pack[cut]] = True
        return ChunkRows(
            blocks=self.block[cut].astype(np.uint32),
            digests=np.empty((0, DIGEST_BYTES), np.uint8) if self.digest is None else self.digest[cut],
            packs=tuple(self.packs[index] for index in np.flatnonzero(used).tolist()),
            pack_index=(np.cumsum(used) - 1)[self.pack[cut]].astype(np.uint16),
            offsets=self.offset[cut].astype(np.uint32),
            stored=self.stored[cut].astype(np.uint32),
        )


def _of_disk(disk_id: UUID) -> Where:
    part = ids.part_of(disk_id)
    return {"part": (part, part), "disk_id": (str(disk_id), str(disk_id))}


def _span(points: Sequence[DiskPoint]) -> tuple[int, int]:
    return min(point.seq for point in points), max(point.seq for point in points)


def _groups(points: Sequence[DiskPoint]) -> Iterator[list[DiskPoint]]:
    """Points in order, as many at a time as have about GROUP_ROWS rows."""
    group: list[DiskPoint] = []
    rows = 0
    for point in points:
        if group and rows + point.chunk_rows > GROUP_ROWS:
            yield group
            group, rows = [], 0
        group.append(point)
        rows += point.chunk_rows
    if group:
        yield group


def _runs(table: NDArray[np.int64], chunk_bytes: int) -> ZeroRuns:
    """Byte ranges as runs of blocks; the last block of a disk may be a short one."""
    table = table[np.argsort(table[:, 0], kind="stable")]
    starts, lengths = table[:, 0] // chunk_bytes, -(-table[:, 1] // chunk_bytes)
    return ZeroRuns(starts.astype(np.uint32), lengths.astype(np.uint32))


def _digests(column: pa.ChunkedArray) -> NDArray[np.uint8]:
    parts = [
        np.frombuffer(chunk.buffers()[1], np.uint8)[chunk.offset * DIGEST_BYTES :][: len(chunk) * DIGEST_BYTES]
        for chunk in column.chunks
    ]
    return np.concatenate(parts).reshape(-1, DIGEST_BYTES)

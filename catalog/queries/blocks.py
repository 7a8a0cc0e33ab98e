"""Blocks and extents of a disk as streams of Arrow batches. Imports `catalog` and `storage`.

Bounded memory: a map goes window by window, whatever the size of the disk.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from uuid import UUID

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from catalog.domain import ids
from catalog.queries.asked import Asked, Page, bad_cursor
from catalog.queries.moment import Mask, Moment
from catalog.queries.points import PointDisk, chain_of, disk_of
from catalog.queries.rows import ExtentRow
from catalog.resolve.blockmap import BlockMap
from catalog.resolve.resolver import Resolver
from storage.chunks.rows import DIGEST_BYTES
from storage.errors import Invalid
from storage.lake import Lake
from storage.lake.tables import Where

WINDOW_BLOCKS = 1 << 20
BATCH_ROWS = 1 << 16
CHUNK, ZERO, ABSENT = 0, 1, 2
KINDS = pa.array(["chunk", "zero", "absent"])

SCHEMA = pa.schema(
    [
        pa.field("block", pa.int64(), nullable=False),
        pa.field("blocks", pa.int64(), nullable=False),
        pa.field("kind", pa.dictionary(pa.int8(), pa.string()), nullable=False),
        pa.field("digest", pa.binary(DIGEST_BYTES)),
        pa.field("pack_id", pa.dictionary(pa.int32(), pa.string())),
        pa.field("pack_offset", pa.int64()),
        pa.field("stored_bytes", pa.int64()),
    ]
)
"""A block map: a row for each block that a chunk holds (`blocks` is 1), and one for each run of others.

`kind`: chunk; zero, recorded as zeros; absent, never written. Both of these read as zeros, and their runs may be
told in several rows.
"""
EXTENT_SCHEMA = pa.schema(
    [
        pa.field("start_bytes", pa.int64(), nullable=False),
        pa.field("length_bytes", pa.int64(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
    ]
)
Stream = tuple[pa.Schema, Iterator[pa.RecordBatch]]


class Disk:
    """One disk of a restore point, with what reads its rows."""

    def __init__(self, moment: Moment, lake: Lake, asked: Asked, restore_point_id: UUID, disk_id: UUID) -> None:
        self.disk: PointDisk = disk_of(moment, asked.scope, restore_point_id, disk_id)
        self._moment = moment
        self._lake = lake

    @property
    def blocks(self) -> int:
        """How many blocks it has."""
        table = self._moment.table("disk_points")
        return -(-int(table["size_bytes"][self.disk.row]) // self.chunk_bytes)

    @property
    def chunk_bytes(self) -> int:
        """Size of a block."""
        return int(self._moment.table("disk_points")["chunk_bytes"][self.disk.row])

    def map(self, resolver: Resolver, first_block: int, count: int | None) -> Stream:
        """See `CatalogReads.block_map`."""
        count = self.blocks - first_block if count is None else count
        if first_block < 0 or count < 0 or first_block + count > self.blocks:
            raise Invalid(
                f"blocks {first_block}+{count} are not in the disk's {self.blocks} blocks", code="block-range"
            )
        return SCHEMA, self._map(resolver, first_block, first_block + count)

    def _map(self, resolver: Resolver, start: int, end: int) -> Iterator[pa.RecordBatch]:
        disk_id, seq = self.disk.disk_id, self.disk.seq
        while start < end:
            window = min(WINDOW_BLOCKS - start % WINDOW_BLOCKS, end - start)
            blocks = resolver.map(disk_id, seq, start, window)
            batch = map_batch(blocks, self._zeroed(start, window))
            for low in range(0, batch.num_rows, BATCH_ROWS):
                yield batch.slice(low, BATCH_ROWS)
            start += window

    def _zeroed(self, first_block: int, count: int) -> Mask | None:
        """Which blocks were recorded as zeros by the chain's points, None for none."""
        table = self._moment.table("disk_points")
        chain = chain_of(self._moment, self.disk.disk, self.disk.seq)
        if not table["zero_blocks"][chain].any():
            return None
        size = self.chunk_bytes
        end = first_block + count
        found = self._zero_runs(table["seq"][chain].tolist(), first_block * size, end * size)
        zeroed = np.zeros(count, bool)
        for row in chain:
            blocks = -(-int(table["size_bytes"][row]) // size)
            zeroed[max(0, min(count, blocks - first_block)) :] = False
            for run in found.get(int(table["seq"][row]), ()):
                low, high = np.clip([run[0] // size - first_block, -(-run[1] // size) - first_block], 0, count)
                zeroed[low:high] = True
        return zeroed

    def _zero_runs(self, seqs: Sequence[int], start: int, end: int) -> dict[int, list[tuple[int, int]]]:
        """First and last byte (excluded) of the runs that the points recorded as zeros, by seq."""
        where: Where = {
            **_rows_of(self.disk.disk_id, seqs[0], seqs[-1]),
            "kind": ("stored_zero", "stored_zero"),
            "start_bytes": (None, end - 1),
        }
        found: dict[int, list[tuple[int, int]]] = {}
        for batch in self._lake.read("extents", ("seq", "start_bytes", "length_bytes"), where=where):
            for seq, first, length in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                if first + length > start:
                    found.setdefault(seq, []).append((first, first + length))
        return found

    def extents(self) -> Stream:
        """See `CatalogReads.extent_batches`."""
        return EXTENT_SCHEMA, self._extents({})

    def extent_page(self, asked: Asked) -> Page[ExtentRow]:
        """See `CatalogReads.extents`: the least rows behind the cursor, found in one pass with little memory."""
        where: Where = {}
        if asked.after is not None:
            if len(asked.after) != 2 or not isinstance(asked.after[0], int) or not isinstance(asked.after[1], str):
                raise bad_cursor()
            where = {"start_bytes": (asked.after[0], None)}
        least = EXTENT_SCHEMA.empty_table()
        for batch in self._extents(where):
            rows = pa.concat_tables([least, pa.Table.from_batches([batch])])
            rows = rows.sort_by([("start_bytes", "ascending"), ("kind", "ascending")])
            least = rows.slice(0, asked.limit + 3)
        rows = [ExtentRow(**row) for row in least.to_pylist()]
        if asked.after is not None:
            rows = [row for row in rows if (row.start_bytes, row.kind) > asked.after]
        some = rows[: asked.limit]
        following = (some[-1].start_bytes, some[-1].kind) if len(rows) > asked.limit else None
        return Page(tuple(some), following, self._moment.position)

    def _extents(self, where: Where) -> Iterator[pa.RecordBatch]:
        of_point = _rows_of(self.disk.disk_id, self.disk.seq, self.disk.seq)
        for batch in self._lake.read("extents", EXTENT_SCHEMA.names, where={**of_point, **where}):
            if batch.num_rows:
                yield pa.RecordBatch.from_arrays(batch.columns, schema=EXTENT_SCHEMA)


def map_batch(blocks: BlockMap, zeroed: Mask | None) -> pa.RecordBatch:
    """The rows of one window, in the order of the disk; no row takes part in Python."""
    held = blocks.stored != 0
    kind = np.where(held, np.int8(CHUNK), np.int8(ABSENT))
    if zeroed is not None:
        kind[zeroed & ~held] = ZERO
    kept = held.copy()
    kept[:1] = True
    kept[1:] |= kind[1:] != kind[:-1]
    rows = np.flatnonzero(kept)
    is_chunk = held[rows]
    return pa.RecordBatch.from_arrays(
        [
            pa.array(rows + blocks.first_block),
            pa.array(np.diff(np.append(rows, blocks.count))),
            pa.DictionaryArray.from_arrays(pa.array(kind[rows]), KINDS),
            _digests(blocks, rows, is_chunk),
            _packs(blocks, rows, is_chunk),
            pa.array(blocks.offsets[rows].astype(np.int64), mask=~is_chunk),
            pa.array(blocks.stored[rows].astype(np.int64), mask=~is_chunk),
        ],
        schema=SCHEMA,
    )


def _digests(blocks: BlockMap, rows: NDArray[np.int64], is_chunk: Mask) -> pa.Array:
    if blocks.digests is None:
        raise ValueError("the map was resolved without digests")
    digests = blocks.digests if len(rows) == blocks.count else blocks.digests[rows]
    valid = pa.py_buffer(np.packbits(is_chunk, bitorder="little"))
    data = pa.py_buffer(np.ascontiguousarray(digests))
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(DIGEST_BYTES), len(rows), [valid, data])


def _packs(blocks: BlockMap, rows: NDArray[np.int64], is_chunk: Mask) -> pa.Array:
    """Pack ids as a dictionary of those that the window uses."""
    used = np.zeros(len(blocks.packs.ids) + 1, bool)
    used[blocks.pack_index[rows[is_chunk]]] = True
    names = pa.array([blocks.packs.ids[number].hex() for number in np.flatnonzero(used).tolist()], pa.string())
    index = (np.cumsum(used, dtype=np.int32) - 1)[blocks.pack_index[rows]]
    return pa.DictionaryArray.from_arrays(pa.array(index, pa.int32(), mask=~is_chunk), names)


def _rows_of(disk_id: UUID, first_seq: int, last_seq: int) -> Where:
    part = ids.part_of(disk_id)
    return {"part": (part, part), "disk_id": (str(disk_id), str(disk_id)), "seq": (first_seq, last_seq)}

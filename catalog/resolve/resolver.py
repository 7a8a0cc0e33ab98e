"""Resolve: the block map of a disk at one of its points, by laying a chain of points over one another.

Imports `catalog.domain` and `storage`. Work goes by segments of blocks, so memory is bounded by what is asked for
plus one segment. The same map comes out with and without checkpoints, from the index and from the events.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from uuid import UUID

from catalog.domain.facts import DiskPoint
from catalog.resolve.blockmap import BlockMap, PackTable
from catalog.resolve.checkpoints import Checkpoints, Key
from catalog.resolve.rows import RowSource, blocks_of
from storage.errors import Corrupt, Invalid

SEGMENT_BLOCKS = 1 << 20
CHECKPOINT_EVERY = 30
CHECKPOINT_ROWS = 1 << 16
"""A checkpoint is kept only if making it took this many rows: less is read again as fast."""
CACHE_BYTES = 4 << 30
RECENT_SEGMENTS = 2

Keys = list[tuple[DiskPoint, bytes]]


class Resolver:
    """Maps from one row source; `checkpoints` is the folder of the cache, None for none.

    Maps may share memory: do not write into them. Safe to use from several threads.
    """

    def __init__(
        self,
        source: RowSource,
        checkpoints: Path | None = None,
        *,
        segment_blocks: int = SEGMENT_BLOCKS,
        checkpoint_every: int = CHECKPOINT_EVERY,
        checkpoint_rows: int = CHECKPOINT_ROWS,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self._source = source
        self._packs = PackTable()
        self._cache = None
        if checkpoints is not None:
            self._cache = Checkpoints(checkpoints, self._packs, budget_bytes=cache_bytes)
        self._segment_blocks = segment_blocks
        self._every = checkpoint_every
        self._worth_rows = checkpoint_rows
        self._lock = threading.Lock()
        self._segments: OrderedDict[tuple[UUID, int, int, bool], BlockMap] = OrderedDict()

    def map(
        self, disk_id: UUID, seq: int, first_block: int = 0, count: int | None = None, digests: bool = True
    ) -> BlockMap:
        """The map of `count` blocks (None: to the disk's end), without digests if they are not needed.

        Raises NotFound for an unknown point, Invalid for blocks outside the disk, Corrupt when rows are missing.
        """
        chain = self._source.chain(disk_id, seq)
        total = blocks_of(chain[-1])
        count = total - first_block if count is None else count
        if first_block < 0 or count < 0 or first_block + count > total:
            raise Invalid(f"blocks {first_block}+{count} are not in the disk's {total} blocks", code="block-range")
        segment = first_block // self._segment_blocks
        start = segment * self._segment_blocks
        end = min(start + self._segment_blocks, total)
        if count < end - start and first_block + count <= end:
            key = (disk_id, seq, segment, digests)
            return self._recent(key, lambda: self._resolve(chain, start, end - start, digests)).part(first_block, count)
        return self._resolve(chain, first_block, count, digests)

    def windows(self, disk_id: UUID, seq: int, digests: bool = True) -> Iterator[BlockMap]:
        """Yield the maps of the whole disk, segment by segment: bounded memory for a disk of any size."""
        total = blocks_of(self._source.chain(disk_id, seq)[-1])
        for start in range(0, total, self._segment_blocks):
            yield self.map(disk_id, seq, start, min(self._segment_blocks, total - start), digests)

    def _recent(self, key: tuple[UUID, int, int, bool], resolve: Callable[[], BlockMap]) -> BlockMap:
        """Whole segments that small windows were cut from lately: the next window is likely to be beside."""
        with self._lock:
            found = self._segments.pop(key, None) or resolve()
            self._segments[key] = found
            while len(self._segments) > RECENT_SEGMENTS:
                self._segments.popitem(last=False)
            return found

    def _resolve(self, chain: tuple[DiskPoint, ...], first_block: int, count: int, digests: bool) -> BlockMap:
        result = BlockMap.blank(first_block, count, self._packs, digests=digests)
        kept = 0
        if self._cache is not None and count:
            kept = (len(chain) - 1) // self._every * self._every + 1
            keys = self._keys(chain[:kept])
            for segment in range(first_block // self._segment_blocks, -(-result.end_block // self._segment_blocks)):
                self._fill(self._cache, result, keys, segment)
        self._replay(result, chain[kept:])
        return result

    def _fill(self, cache: Checkpoints, result: BlockMap, keys: Keys, segment: int) -> None:
        """Resolve what `result` (blank) has of a segment, at the last of the keyed points."""
        start = max(segment * self._segment_blocks, result.first_block)
        end = min((segment + 1) * self._segment_blocks, result.end_block)
        view = result.part(start, end - start)
        point, fingerprint = keys[-1]
        if not cache.load(Key(point.disk_id, point.seq, segment, fingerprint), view):
            self._rebuild(cache, view, keys, segment)

    def _rebuild(self, cache: Checkpoints, view: BlockMap, keys: Keys, segment: int) -> None:
        """Resolve a whole segment from the best earlier checkpoint, and keep it if that took many rows."""
        chain = [point for point, _ in keys]
        if sum(point.chunk_rows for point in chain) < self._worth_rows:
            self._replay(view, chain)
            return
        made = [Key(point.disk_id, point.seq, segment, fingerprint) for point, fingerprint in keys]
        start = segment * self._segment_blocks
        count = max(0, min(self._segment_blocks, blocks_of(chain[-1]) - start))
        whole = BlockMap.blank(start, count, self._packs, digests=view.digests is not None)
        kept = len(chain) - self._every
        while kept > 0 and not cache.load(made[kept - 1], whole):
            kept -= self._every
        if self._replay(whole, chain[max(kept, 0) :]) >= self._worth_rows:
            cache.publish(made[-1], whole)
        _copy(whole, view)

    def _replay(self, view: BlockMap, points: Sequence[DiskPoint]) -> int:
        """Lay the points over `view`; return how many rows that took."""
        known = {point.seq: point for point in points}
        rows = dict.fromkeys(known, 0)
        current = None
        for delta in self._source.deltas(points, view.first_block, view.count, digests=view.digests is not None):
            if delta.seq != current:
                current = delta.seq
                view.clear(blocks_of(known[current]), view.end_block)
            rows[current] += len(delta.rows)
            view.apply(delta.rows, delta.zeros)
        for seq, found in rows.items():
            _check_rows(view, known[seq], found)
        return sum(rows.values())

    def _keys(self, chain: Sequence[DiskPoint]) -> Keys:
        """Each point with the fingerprint (32 bytes) of the chain up to it."""
        fingerprint = hashlib.sha256(str(self._segment_blocks).encode())
        keys = []
        for point in chain:
            fingerprint.update(f"{point.seq} {point.run_id} {point.size_bytes} {point.chunk_bytes} ".encode())
            fingerprint.update(point.merkle_root)
            keys.append((point, fingerprint.digest()))
        return keys


def _check_rows(view: BlockMap, point: DiskPoint, found: int) -> None:
    """A map of the whole disk must meet every row of the point."""
    whole = view.first_block == 0 and view.end_block >= blocks_of(point)
    if whole and found != point.chunk_rows:
        raise Corrupt(
            f"point {point.seq} of disk {point.disk_id} has {point.chunk_rows} rows, {found} were found",
            code="rows-missing",
            hint="rebuild the index",
        )


def _copy(whole: BlockMap, view: BlockMap) -> None:
    """Copy what both cover, packs counted alike; `view` stays blank behind the end of `whole`."""
    inside = max(0, min(view.count, whole.end_block - view.first_block))
    if not inside:
        return
    source = whole.part(view.first_block, inside)
    view.pack_index[:inside] = source.pack_index
    view.offsets[:inside] = source.offsets
    view.stored[:inside] = source.stored
    if view.digests is not None and source.digests is not None:
        view.digests[:inside] = source.digests

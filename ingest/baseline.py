"""What the last restore point has, block by block: the side an incremental compares with.

Imports `catalog.resolve`. Reads aligned windows, so that memory does not grow
with the disk; safe to use from several threads.
"""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from catalog.domain.facts import DiskPoint
from catalog.resolve.blockmap import BlockMap
from catalog.resolve.resolver import Resolver

WINDOW_BLOCKS = 1 << 18
KEPT_WINDOWS = 2


class PointBaseline:
    """The digests of one disk point."""

    def __init__(self, resolver: Resolver, point: DiskPoint) -> None:
        self._resolver = resolver
        self._point = point
        self._blocks = -(-point.size_bytes // point.chunk_bytes)
        self._maps: OrderedDict[int, BlockMap] = OrderedDict()
        self._lock = Lock()

    def window(self, first: int, count: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Return states u8[count] (1: has data, 0: zero) and digests u8[count, 32] of the blocks from `first`.

        Behind the point's end, where the disk has grown since, all is zero.
        """
        if first >= self._blocks:
            return np.zeros(count, np.uint8), np.zeros((count, 32), np.uint8)
        block_map = self._window_of(first)
        inside = min(count, block_map.end_block - first)
        states, digests = block_map.window(first, inside)
        if inside == count:
            return states, digests
        more_states, more_digests = self.window(first + inside, count - inside)
        return np.concatenate([states, more_states]), np.concatenate([digests, more_digests])

    def _window_of(self, block: int) -> BlockMap:
        start = block - block % WINDOW_BLOCKS
        with self._lock:
            if start not in self._maps:
                count = min(WINDOW_BLOCKS, self._blocks - start)
                found = self._resolver.map(self._point.disk_id, self._point.seq, start, count, digests=True)
                self._maps[start] = found
                if len(self._maps) > KEPT_WINDOWS:
                    self._maps.popitem(last=False)
            return self._maps[start]

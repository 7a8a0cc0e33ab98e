"""The runs of one file: its blocks, and the sectors of those that it holds in part.

Pure over a `Layer`, which is what VHDX and VHD have in common. Imports `adapters.virtualdisk` only.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from adapters.virtualdisk.file import RandomFile
from adapters.virtualdisk.locator import ParentLocator
from adapters.virtualdisk.runs import OWN, Flags, Numbers, Runs, Sources, joined

PARTIAL = -3
_MOST_BLOCKS = 1 << 13
_MOST_SECTORS = 1 << 18


class Layer(Protocol):
    """One file of a chain. `linkage` is what a child must name as its parent; `unset` is ZERO, with a parent PARENT."""

    path: str
    file: RandomFile
    format: str
    identity: str
    linkage: str
    size_bytes: int
    block_bytes: int
    sector_bytes: int
    locator: ParentLocator | None
    unset: int

    def blocks(self, first: int, count: int) -> tuple[Sources, Numbers]:
        """Return each block's source, or PARTIAL, and where its bytes begin in the file, in arrays for the caller."""

    def sectors(self, block: int, first: int, count: int) -> Flags:
        """Say which sectors of a PARTIAL block the file holds; the others are `unset`."""


def layer_runs(layer: Layer, start: int, end: int) -> Runs:
    """Return the runs of a range of the disk. Raises SourceCorrupt for tables that contradict themselves."""
    size = layer.block_bytes
    first = start // size
    count = -(-end // size) - first
    sources, offsets = layer.blocks(first, count)
    starts = np.arange(first, first + count, dtype=np.int64) * size
    offsets[0] += start - starts[0]
    starts[0] = start
    partial = np.flatnonzero(sources == PARTIAL)
    parts: list[Runs] = []
    done = 0
    for at in partial.tolist():
        if at > done:
            parts.append(Runs(starts[done:at], int(starts[at]), sources[done:at], offsets[done:at]))
        stop = min(end, (first + at + 1) * size)
        parts.append(_sector_runs(layer, int(starts[at]), stop, int(offsets[at])))
        done = at + 1
    if done < count:
        parts.append(Runs(starts[done:], end, sources[done:], offsets[done:]))
    return joined(parts)


def window_end(layer: Layer, start: int, end: int) -> int:
    """Return how far from `start` the runs can be asked for at once, so that they take a few MiB at most."""
    size = layer.block_bytes
    first = start // size
    count = min(-(-end // size) - first, _MOST_BLOCKS)
    partial = np.flatnonzero(layer.blocks(first, count)[0] == PARTIAL)
    allowed = max(1, _MOST_SECTORS * layer.sector_bytes // size)
    if partial.size > allowed:
        count = int(partial[allowed])
    return min(end, (first + count) * size)


def _sector_runs(layer: Layer, start: int, end: int, offset: int) -> Runs:
    """The runs of a partial block's range, whose first byte would be at `offset` in the file."""
    block, within = divmod(start, layer.block_bytes)
    sector = within // layer.sector_bytes
    count = -(-(end - start + within % layer.sector_bytes) // layer.sector_bytes)
    held = layer.sectors(block, sector, count)
    cuts = np.concatenate([np.zeros(1, dtype=np.int64), np.flatnonzero(held[1:] != held[:-1]) + 1])
    starts = block * layer.block_bytes + (sector + cuts) * layer.sector_bytes
    starts[0] = start
    sources = np.where(held[cuts], np.int16(OWN), np.int16(layer.unset))
    return Runs(starts, end, sources, offset + (starts - start))

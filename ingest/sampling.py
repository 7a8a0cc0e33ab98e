"""Not taking change tracking at its word: blocks it calls unchanged are read and hashed, a few each run.

Imports `adapters.port` and `storage`. Clusters of random blocks: over the runs the sample walks the whole disk.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from random import Random

import numpy as np
from blake3 import blake3

from adapters.port import BlockReader, Extent
from ingest.blocks import block_count
from storage.chunks.pipeline import Baseline

CLUSTERS = 4
CLUSTER_BLOCKS = 4_096
BLOCKS_PER_CLUSTER = 16


@dataclass(frozen=True, slots=True)
class Sample:
    """How many blocks were re-hashed, and which of them were not what the last point has."""

    sampled: int
    mismatched: tuple[int, ...]


def sample_unchanged(
    changed: Iterable[Extent],
    reader: BlockReader,
    baseline: Baseline,
    digest_key: bytes,
    *,
    chunk_bytes: int,
    random: Random,
) -> Sample:
    """Re-hash random blocks outside `changed` and compare them with the last point's digests."""
    blocks = block_count(reader.size_bytes, chunk_bytes)
    unchanged = _without(_candidates(blocks, random), changed, chunk_bytes)
    mismatched = []
    buffer = bytearray(chunk_bytes)
    for block in unchanged:
        start = block * chunk_bytes
        view = memoryview(buffer)[: min(chunk_bytes, reader.size_bytes - start)]
        reader.pread_into(start, view)
        states, digests = baseline.window(block, 1)
        held = bytes(digests[0]) if states[0] else None
        if (blake3(view, key=digest_key).digest() if np.frombuffer(view, np.uint8).any() else None) != held:
            mismatched.append(block)
    return Sample(len(unchanged), tuple(mismatched))


def _candidates(blocks: int, random: Random) -> list[int]:
    chosen: set[int] = set()
    for _ in range(CLUSTERS):
        first = random.randrange(max(1, blocks - CLUSTER_BLOCKS + 1))
        span = min(CLUSTER_BLOCKS, blocks)
        chosen.update(first + random.randrange(span) for _ in range(BLOCKS_PER_CLUSTER))
    return sorted(chosen)


def _without(blocks: list[int], changed: Iterable[Extent], chunk_bytes: int) -> list[int]:
    touched: set[int] = set()
    for extent in changed:
        at = bisect_left(blocks, extent.start // chunk_bytes)
        while at < len(blocks) and blocks[at] * chunk_bytes < extent.end:
            touched.add(blocks[at])
            at += 1
    return [block for block in blocks if block not in touched]

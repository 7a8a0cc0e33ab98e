"""The store against a model: any disk and any sequence of overwrites come back byte for byte."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from storage.chunks.pending import Written
from tests.support.chunk_store import CHUNK, BytesDisk, apply, blocks_of, make_store, noise, rows_in
from tests.support.memory_objects import MemoryObjects

MAX_BLOCKS = 24

fills = st.one_of(
    st.just(b"\0"), st.sampled_from([b"\1", b"ab"]), st.integers(0, 6).map(lambda seed: noise(CHUNK, seed))
)
overwrites = st.lists(st.tuples(st.integers(0, MAX_BLOCKS * CHUNK), st.integers(1, 3 * CHUNK), fills), max_size=6)
sizes = st.integers(1, MAX_BLOCKS * CHUNK)
steps = st.lists(st.tuples(sizes, overwrites, st.booleans()), min_size=1, max_size=5)


def changed(image: bytearray, size: int, writes: list[tuple[int, int, bytes]]) -> tuple[bytearray, set[int]]:
    """The image after a resize and overwrites, and the blocks that these touched."""
    after = image[:size] + bytes(size - len(image[:size]))
    touched = set(range(min(len(image), size) // CHUNK, blocks_of(size))) if len(image) != size else set()
    for offset, length, fill in writes:
        end = min(offset + length, size)
        if offset < end:
            after[offset:end] = (fill * (-(-length // len(fill))))[: end - offset]
            touched.update(range(offset // CHUNK, (end - 1) // CHUNK + 1))
    return after, touched


def runs_of(blocks: set[int]) -> list[tuple[int, int]]:
    """Ascending runs of single blocks or neighbours."""
    runs: list[tuple[int, int]] = []
    for block in sorted(blocks):
        if runs and sum(runs[-1]) == block:
            runs[-1] = (runs[-1][0], runs[-1][1] + 1)
        else:
            runs.append((block, 1))
    return runs


class Chain:
    """What a catalog keeps of one disk: the digest of each block that holds data. A baseline."""

    def __init__(self) -> None:
        self.digests: dict[int, bytes] = {}

    def window(self, first_block: int, count: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        blocks = range(first_block, first_block + count)
        state = np.array([block in self.digests for block in blocks], np.uint8)
        digests = b"".join(self.digests.get(block, bytes(32)) for block in blocks)
        return state, np.frombuffer(digests, np.uint8).reshape(-1, 32)

    def follow(self, written: list[Written], blocks: int) -> None:
        """Take in what was written, on a disk of so many blocks."""
        for each in written:
            for start, count in zip(each.zeros.starts.tolist(), each.zeros.counts.tolist(), strict=True):
                for block in range(start, start + count):
                    self.digests.pop(block, None)
        rows = rows_in(written)
        self.digests |= {int(b): d.tobytes() for b, d in zip(rows.blocks, rows.digests, strict=True)}
        self.digests = {block: digest for block, digest in self.digests.items() if block < blocks}


@settings(max_examples=60, deadline=None)
@given(steps, st.booleans(), st.sampled_from([1, 3]))
def test_rows_applied_in_order_reproduce_the_disk(
    sequence: list[tuple[int, list[tuple[int, int, bytes]], bool]], encrypts: bool, workers: int
) -> None:
    """After a full and any tracked or compared incrementals, of a disk that also grows and shrinks, the rows and zero
    runs applied in order give the disk as it was at each point."""
    with TemporaryDirectory() as folder:
        store = make_store(MemoryObjects(), Path(folder), encrypts=encrypts, workers=workers, pack_bytes=3 * CHUNK)
        disk, target, chain = bytearray(), bytearray(), Chain()
        with store.writer() as writer:
            for size, writes, compare in sequence:
                disk, touched = changed(disk, size, writes)
                blocks = blocks_of(size)
                runs = [(0, blocks)] if compare else runs_of(touched)
                written = list(writer.write(BytesDisk(disk), runs, baseline=chain if compare else None))
                chain.follow(written, blocks)
                target = target[:size] + bytes(size - len(target[:size]))
                apply(target, store, rows_in(written), [each.zeros for each in written])
                assert target == disk

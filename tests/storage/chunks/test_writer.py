"""Writing disks: what comes out, in which order, and what happens when something fails."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from storage.chunks.pending import Written
from storage.chunks.store import ChunkStore
from storage.errors import Invalid
from storage.objects.local import LocalObjects
from storage.packs.format import RECORD_OVERHEAD, pack_name
from tests.support.chunk_store import (
    CHUNK,
    BytesDisk,
    back_up,
    blocks_of,
    data,
    make_store,
    noise,
    restored,
    rows_in,
)
from tests.support.memory_objects import MemoryObjects


class Known:
    """A baseline in memory: digest by block; a block it does not have was zero."""

    def __init__(self, digests: dict[int, bytes]) -> None:
        self._digests = digests

    def window(self, first_block: int, count: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        blocks = range(first_block, first_block + count)
        state = np.array([block in self._digests for block in blocks], np.uint8)
        digests = b"".join(self._digests.get(block, bytes(32)) for block in blocks)
        return state, np.frombuffer(digests, np.uint8).reshape(-1, 32)


def baseline_of(written: list[Written]) -> Known:
    """The baseline that a full backup leaves."""
    rows = rows_in(written)
    return Known({int(block): digest.tobytes() for block, digest in zip(rows.blocks, rows.digests, strict=True)})


def zero_blocks(written: list[Written]) -> set[int]:
    """The blocks in zero runs."""
    return {
        block
        for each in written
        for start, count in zip(each.zeros.starts.tolist(), each.zeros.counts.tolist(), strict=True)
        for block in range(start, start + count)
    }


@pytest.mark.parametrize("encrypts", [True, False])
@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("tail", [0, 1, 7, CHUNK - 1])
def test_a_full_backup_reads_back(
    objects: MemoryObjects, tmp_path: Path, encrypts: bool, workers: int, tail: int
) -> None:
    """A disk of data, zeros and a short last block comes back byte for byte, whatever the threads and the mode."""
    store = make_store(objects, tmp_path, encrypts=encrypts, workers=workers)
    content = data(900) + noise(tail, 5)
    content[3 * CHUNK : 40 * CHUNK] = bytes(37 * CHUNK)
    written = back_up(store, content)
    assert restored(store, written, len(content)) == content
    assert zero_blocks(written) == set(range(3, 40))
    rows = rows_in(written)
    assert (np.diff(rows.blocks.astype(np.int64)) > 0).all()
    assert len(rows) == blocks_of(len(content)) - 37


def test_a_zero_tail_is_a_zero_block(store: ChunkStore) -> None:
    """A last block that is short and zero is a zero block; one zero byte short of data is data."""
    assert zero_blocks(back_up(store, data(1) + bytes(100))) == {1}
    written = back_up(store, data(1) + bytes(99) + b"\1")
    assert zero_blocks(written) == set()
    assert len(rows_in(written)) == 2


@pytest.mark.parametrize("place", [0, 8, 2000, CHUNK - 1])
def test_one_byte_makes_a_block_data(store: ChunkStore, place: int) -> None:
    """A single byte that is not zero, anywhere in a block, is kept."""
    content = bytearray(3 * CHUNK)
    content[CHUNK + place] = 1
    written = back_up(store, content)
    assert zero_blocks(written) == {0, 2}
    assert restored(store, written, len(content)) == content


def test_only_the_requested_blocks_are_read(store: ChunkStore) -> None:
    """Runs decide what is read; nothing outside of them is touched or reported."""
    disk = BytesDisk(data(5000))
    with store.writer() as writer:
        written = list(writer.write(disk, [(2, 3), (10, 1), (600, 700), (4999, 1)]))
    assert rows_in(written).blocks.tolist() == [2, 3, 4, 10, *range(600, 1300), 4999]
    assert sum(length for _, length in disk.reads) == 705 * CHUNK
    assert sum(each.read_bytes for each in written) == 705 * CHUNK
    assert written[-1].next_block == 5000


@pytest.mark.parametrize("runs", [[(3, 2), (4, 1)], [(3, 0)], [(5, 1), (3, 1)], [(9, 2)], [(10, 1)], [(0, 1), (0, 1)]])
def test_runs_ascend_within_the_disk(store: ChunkStore, runs: list[tuple[int, int]]) -> None:
    """Runs that overlap, go back or leave the disk are refused, and no row comes of them."""
    with store.writer() as writer, pytest.raises(Invalid) as caught:
        list(writer.write(BytesDisk(data(10)), runs))
    assert caught.value.code == "block-runs"


def test_equal_blocks_are_stored_once(store: ChunkStore, objects: MemoryObjects) -> None:
    """Blocks with the same content share one record: within a disk, between writers, and after a reopening."""
    content = data(60) * 2
    first = back_up(store, content)
    assert sum(each.new_chunks for each in first) == 60
    second = back_up(store, content[::-1][::-1])
    assert sum(each.new_chunks for each in second) == 0
    assert [pack for each in second for pack in each.packs] == []
    assert len(list(store.packs())) == len({pack for each in first for pack in each.rows.packs})
    assert restored(store, second, len(content)) == content


def test_a_new_process_deduplicates_against_the_old(objects: MemoryObjects, tmp_path: Path) -> None:
    """A store opened later finds the chunks in the index; one with an empty index once it has synchronised."""
    content = data(50)
    back_up(make_store(objects, tmp_path / "a"), content)
    assert sum(each.new_chunks for each in back_up(make_store(objects, tmp_path / "a"), content)) == 0
    fresh = make_store(objects, tmp_path / "b")
    assert len(fresh.sync_index()) > 0
    assert sum(each.new_chunks for each in back_up(fresh, content)) == 0


def test_two_writers_share_chunks(store: ChunkStore) -> None:
    """A pack sealed by one writer serves another that is still at work, which is given that pack as well."""
    content = data(400)
    with store.writer() as one, store.writer() as two:
        first = one.write(BytesDisk(content), [(0, 400)])
        mine = next(first)
        other = list(two.write(BytesDisk(content), [(0, 400)]))
        given = {pack.pack_id for each in other for pack in each.packs}
        assert sum(each.new_chunks for each in other) == 0
        assert {pack for each in other for pack in each.rows.packs} <= given
        assert [*first] == []
    assert {pack.pack_id for pack in mine.packs} == given
    assert [pack for each in back_up(store, content) for pack in each.packs] == []


def test_rows_leave_when_their_packs_are_durable(tmp_path: Path, small_batches: None) -> None:
    """At every yield each cited pack is in the store, and was given to the caller then or before."""
    objects = LocalObjects(tmp_path / "store", fsync=False)
    store = make_store(objects, tmp_path / "index")
    given: set[bytes] = set()
    batches = 0
    with store.writer() as writer:
        for written in writer.write(BytesDisk(data(1000)), [(0, 1000)]):
            for pack in written.packs:
                assert objects.stat(pack_name(pack.pack_id)).size_bytes == pack.size_bytes
                assert store.sealed(pack.pack_id) == pack
                given.add(pack.pack_id)
            assert set(written.rows.packs) <= given
            batches += 1
    assert batches > 5
    assert given == set(store.packs())


def test_batches_tell_how_far_they_got(store: ChunkStore, small_batches: None) -> None:
    """Rows lie between the last batch's next block and this one's, and the counts add up to the disk."""
    content = data(3000)
    content[100 * CHUNK : 300 * CHUNK] = bytes(200 * CHUNK)
    progress: list[int] = []
    done = 0
    with store.writer() as writer:
        written = []
        for each in writer.write(BytesDisk(content), [(0, 3000)], progress=progress.append):
            assert each.rows.blocks[0] >= done
            assert each.rows.blocks[-1] < each.next_block
            done = each.next_block
            written.append(each)
    assert len(written) > 2
    assert done == 3000
    assert sum(progress) == sum(each.read_bytes for each in written) == len(content)
    assert sum(each.changed_blocks for each in written) == 3000
    assert sum(each.unchanged_blocks for each in written) == 0
    assert sum(each.new_chunks for each in written) == 2800
    rows = rows_in(written)
    assert sum(each.stored_bytes for each in written) == int(rows.stored.sum())


def test_incompressible_blocks_are_kept_raw(store: ChunkStore) -> None:
    """A block that zstd can't make smaller by 3 % costs its own length and the record's overhead."""
    rows = rows_in(back_up(store, noise(CHUNK, 3) + b"abcd" * (CHUNK // 4)))
    assert rows.stored[0] == CHUNK + RECORD_OVERHEAD
    assert rows.stored[1] < 200


def test_a_comparison_yields_what_changed(store: ChunkStore) -> None:
    """Against a baseline: equal blocks yield nothing; changed, new, zeroed and first data blocks do."""
    before = data(2000)
    before[0 : 10 * CHUNK] = bytes(10 * CHUNK)
    baseline = baseline_of(back_up(store, before))
    after = bytearray(before) + data(3, seed=9) + bytes(CHUNK)
    after[5 * CHUNK] = 1
    after[700 * CHUNK + 17] ^= 1
    after[900 * CHUNK : 902 * CHUNK] = bytes(2 * CHUNK)
    with store.writer() as writer:
        written = list(writer.write(BytesDisk(after), [(0, 2004)], baseline=baseline))
    assert rows_in(written).blocks.tolist() == [5, 700, 2000, 2001, 2002]
    assert zero_blocks(written) == {900, 901}
    assert sum(each.changed_blocks for each in written) == 7
    assert sum(each.unchanged_blocks for each in written) == 1997
    assert sum(each.new_chunks for each in written) == 5


def test_an_unchanged_disk_stores_nothing(store: ChunkStore, objects: MemoryObjects) -> None:
    """Comparing an unchanged disk yields no row and no pack, but says that all was read."""
    content = data(700)
    baseline = baseline_of(back_up(store, content))
    packs = list(store.packs())
    with store.writer() as writer:
        written = list(writer.write(BytesDisk(content), [(0, 700)], baseline=baseline))
    assert [len(each.rows) for each in written] == [0]
    assert (written[0].unchanged_blocks, written[0].next_block, written[0].packs) == (700, 700, ())
    assert list(store.packs()) == packs


def test_nothing_requested_yields_nothing(store: ChunkStore) -> None:
    """No runs, no rows, no pack."""
    with store.writer() as writer:
        assert list(writer.write(BytesDisk(data(3)), [])) == []
        assert list(writer.write(BytesDisk(b""), [])) == []
    assert list(store.packs()) == []


def test_stop_ends_with_what_is_complete(store: ChunkStore) -> None:
    """Asked to stop, a write yields sound rows for a head of the disk, durable, and says that it was interrupted."""
    content = data(60_00)
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked > 5

    with store.writer() as writer:
        written = list(writer.write(BytesDisk(content), [(0, 6000)], stop=stop))
        assert writer.interrupted
        end = written[-1].next_block
        assert 0 < end < 6000
        assert rows_in(written).blocks.tolist() == list(range(end))
        rest = list(writer.write(BytesDisk(content), [(end, 6000 - end)]))
        assert not writer.interrupted
    assert restored(store, written + rest, len(content)) == content


def test_stop_after_the_last_block_is_no_interruption(store: ChunkStore) -> None:
    """A stop that comes when all blocks are on their way changes nothing."""
    calls: list[None] = []
    with store.writer() as writer:
        list(writer.write(BytesDisk(data(3)), [(0, 3)], stop=lambda: bool(calls.append(None)) or len(calls) > 1))
        assert len(calls) == 1
        assert not writer.interrupted

"""Bulk reads: every row is verified, neighbours come in one read, and damage spoils only what it touches."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from storage.chunks.reader import plan_stretches
from storage.chunks.rows import ChunkRows, empty_rows
from storage.chunks.store import ChunkStore
from storage.errors import Corrupt, HoldfastError, NotFound, Unavailable
from storage.packs.format import MAX_RECORD_BYTES, RECORD_OVERHEAD, pack_name
from tests.support.chunk_store import CHUNK, back_up, make_store, noise, replace_object, rows_in
from tests.support.faults import FaultyObjects
from tests.support.memory_objects import MemoryObjects


def content_of(blocks: int) -> bytes:
    """Incompressible blocks, all different."""
    return b"".join(noise(CHUNK, block) for block in range(blocks))


def scattered(store: ChunkStore, rows: ChunkRows) -> tuple[dict[int, bytes], dict[int, HoldfastError]]:
    """What the sink and `on_bad` were given."""
    came: dict[int, bytes] = {}
    bad: dict[int, HoldfastError] = {}

    def sink(block: int, plain: memoryview) -> None:
        assert block not in came
        came[block] = bytes(plain)

    total = store.scatter(rows, sink, on_bad=bad.__setitem__)
    assert total == sum(map(len, came.values()))
    assert set(came) | set(bad) == set(rows.blocks.tolist())
    assert not set(came) & set(bad)
    return came, bad


def with_columns(rows: ChunkRows, **columns: object) -> ChunkRows:
    """Rows with some columns replaced."""
    kept = {name: getattr(rows, name) for name in ("blocks", "digests", "packs", "pack_index", "offsets", "stored")}
    return ChunkRows(**{**kept, **columns})  # type: ignore[arg-type] # the test gives the right ones


def test_neighbours_come_in_one_read(objects: MemoryObjects, tmp_path: Path) -> None:
    """Records that stand together in a pack are read at once, in pieces of 4 MiB at most."""
    reads: list[str] = []
    counted = FaultyObjects(objects, lambda operation, name: reads.append(f"{operation} {name}"))
    store = make_store(counted, tmp_path, pack_bytes=1 << 20)
    rows = rows_in(back_up(store, content_of(600)))
    reads.clear()
    came, bad = scattered(store, rows)
    assert (len(came), bad) == (600, {})
    packs = len(rows.packs)
    assert len([read for read in reads if read.startswith("read_into")]) == 2 * packs


def test_a_plan_covers_each_row_once() -> None:
    """Stretches hold every row once, within one pack, no longer than 4 MiB unless it is one record."""
    random = np.random.default_rng(5)
    stored = random.integers(100, 300_000, 3000).astype(np.uint32)
    offsets = random.integers(64, 60 << 20, 3000).astype(np.uint32)
    offsets[100:140], stored[100:140] = offsets[99], stored[99]
    rows = ChunkRows(
        blocks=np.arange(3000, dtype=np.uint32),
        digests=np.zeros((3000, 32), np.uint8),
        packs=(b"a" * 16, b"b" * 16),
        pack_index=random.integers(0, 2, 3000).astype(np.uint16),
        offsets=offsets,
        stored=stored,
    )
    for at_most in (0, 4 << 20):
        stretches = plan_stretches(rows, np.arange(3000), at_most)
        assert sorted(at for stretch in stretches for at in stretch.rows) == list(range(3000))
        for stretch in stretches:
            ends = offsets[stretch.rows].astype(np.int64) + stored[stretch.rows]
            assert (stretch.begin, stretch.end) == (offsets[stretch.rows].min(), ends.max())
            assert {rows.packs[number] for number in rows.pack_index[stretch.rows]} == {stretch.pack}
            assert stretch.end - stretch.begin <= max(at_most, MAX_RECORD_BYTES)
        firsts = [min(stretch.rows) for stretch in stretches]
        assert firsts == sorted(firsts)


def test_one_record_serves_many_blocks(store: ChunkStore) -> None:
    """Blocks that cite the same record each get its bytes."""
    content = noise(CHUNK, 1) * 50 + noise(CHUNK, 2)
    came, bad = scattered(store, rows_in(back_up(store, content)))
    assert (b"".join(came[block] for block in range(51)), bad) == (content, {})


def test_damage_spoils_only_its_rows(store: ChunkStore, objects: MemoryObjects) -> None:
    """With one record damaged its blocks are reported, all other blocks come, and no wrong byte is delivered."""
    content = content_of(60) + noise(CHUNK, 7)
    rows = rows_in(back_up(store, content))
    name = pack_name(rows.packs[rows.pack_index[7]])
    damaged = bytearray(objects.read_tail(name, 1 << 30)[1])
    damaged[int(rows.offsets[7]) + 500] ^= 4
    replace_object(objects, name, bytes(damaged))
    came, bad = scattered(store, rows)
    assert set(bad) == {7, 60}
    assert {error.code for error in bad.values()} == {"record-seal"}
    assert all(plain == content[block * CHUNK :][:CHUNK] for block, plain in came.items())


def test_without_a_listener_the_first_error_is_raised(store: ChunkStore, objects: MemoryObjects) -> None:
    """A caller that gives no `on_bad` gets the error instead of silence."""
    rows = rows_in(back_up(store, content_of(40)))
    objects.delete(pack_name(rows.packs[0]))
    with pytest.raises(NotFound):
        store.scatter(rows, lambda block, plain: None)


def test_a_truncated_pack_gives_what_is_left(store: ChunkStore, objects: MemoryObjects) -> None:
    """Of a pack that was cut the records before the cut still come, though they are read together."""
    rows = rows_in(back_up(store, content_of(10)))
    name = pack_name(rows.packs[0])
    whole = objects.read_tail(name, 1 << 30)[1]
    replace_object(objects, name, whole[: int(rows.offsets[6]) + 100])
    came, bad = scattered(store, rows)
    assert set(came) == {0, 1, 2, 3, 4, 5}
    assert {error.code for error in bad.values()} == {"object-truncated"}


def test_a_missing_pack_is_reported_for_each_row(store: ChunkStore, objects: MemoryObjects) -> None:
    """Rows of a pack that is gone are all reported; rows of other packs come."""
    rows = rows_in(back_up(store, content_of(60)))
    assert len(rows.packs) > 2
    objects.delete(pack_name(rows.packs[1]))
    came, bad = scattered(store, rows)
    assert set(bad) == set(np.flatnonzero(rows.pack_index == 1).tolist())
    assert {type(error) for error in bad.values()} == {NotFound}
    assert len(came) == 60 - len(bad)


def test_a_store_that_is_away_is_told_apart(objects: MemoryObjects, tmp_path: Path) -> None:
    """When the object store does not answer, the rows' error is Unavailable and not Corrupt."""

    def away(operation: str, name: str) -> None:
        if operation == "read_into":
            raise Unavailable("not now", code="store-unavailable")

    rows = rows_in(back_up(make_store(objects, tmp_path), content_of(5)))
    _, bad = scattered(make_store(FaultyObjects(objects, away), tmp_path), rows)
    assert {type(error) for error in bad.values()} == {Unavailable}


@pytest.mark.parametrize(
    "change",
    [
        {"stored": np.array([0, 70, 70], np.uint32)},
        {"stored": np.array([RECORD_OVERHEAD, 70, 70], np.uint32)},
        {"stored": np.array([2**32 - 1, 70, 70], np.uint32)},
        {"stored": np.array([CHUNK + RECORD_OVERHEAD + 1, 70, 70], np.uint32)},
        {"pack_index": np.array([9, 0, 0], np.uint16)},
    ],
)
def test_impossible_rows_are_refused(store: ChunkStore, change: dict[str, object]) -> None:
    """Rows that no writer makes are reported before anything is read or allocated for them."""
    rows = rows_in(back_up(store, content_of(3)))
    _, bad = scattered(store, with_columns(rows, **change))
    assert bad[0].code == "row-impossible"


def test_a_row_must_cite_its_own_digest(store: ChunkStore) -> None:
    """Rows whose digests or offsets are exchanged are Corrupt: a place is not believed without its digest."""
    rows = rows_in(back_up(store, content_of(4)))
    _, bad = scattered(store, with_columns(rows, digests=rows.digests[::-1].copy()))
    assert {error.code for error in bad.values()} == {"record-other"}
    assert len(bad) == 4
    _, bad = scattered(store, with_columns(rows, offsets=rows.offsets + np.uint32(1)))
    assert len(bad) == 4


def test_a_sink_that_fails_ends_the_read(store: ChunkStore) -> None:
    """An exception of the sink comes out unchanged and no thread is left behind."""
    rows = rows_in(back_up(store, content_of(300)))
    before = set(threading.enumerate())

    def sink(block: int, plain: memoryview) -> None:
        raise OSError("the target is full")

    with pytest.raises(OSError, match="the target is full"):
        store.scatter(rows, sink)
    assert set(threading.enumerate()) <= before


def test_no_rows_read_nothing(store: ChunkStore) -> None:
    """An empty set of rows delivers nothing."""
    assert store.scatter(empty_rows(), lambda block, plain: None) == 0


def test_a_single_chunk_is_read(store: ChunkStore) -> None:
    """`read_chunk` returns the plain bytes of one row, and refuses a wrong digest or length."""
    content = content_of(3)
    rows = rows_in(back_up(store, content))
    place = rows.packs[0], int(rows.offsets[1]), int(rows.stored[1])
    assert store.read_chunk(rows.digests[1].tobytes(), *place) == content[CHUNK : 2 * CHUNK]
    with pytest.raises(Corrupt):
        store.read_chunk(bytes(32), *place)
    with pytest.raises(Corrupt):
        store.read_chunk(rows.digests[1].tobytes(), place[0], place[1], 2**31)

"""Writing disks when something fails: the reader, the store, the caller; and the bounds that hold all the same."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.chunks import pending
from storage.chunks.pending import Written
from storage.chunks.store import ChunkStore
from storage.errors import Conflict, HoldfastError, Limit, Unavailable
from storage.packs.format import pack_name
from tests.support.chunk_store import (
    CHUNK,
    BytesDisk,
    back_up,
    collect,
    data,
    make_store,
    noise,
    restored,
)
from tests.support.faults import FaultyObjects
from tests.support.memory_objects import MemoryObjects


class FailingDisk(BytesDisk):
    """Raises `error` when a read reaches block `at`."""

    def __init__(self, content: bytearray, at: int, error: BaseException) -> None:
        super().__init__(content)
        self._at = at * CHUNK
        self._error = error

    def pread_into(self, offset: int, buffer: memoryview) -> None:
        if offset <= self._at < offset + len(buffer):
            raise self._error
        super().pread_into(offset, buffer)


@pytest.mark.parametrize("at", [0, 2500, 4999])
def test_a_reader_that_fails_ends_the_write(store: ChunkStore, at: int, small_batches: None) -> None:
    """An error of the disk comes out unchanged, after rows that are sound; the writer can be used again."""
    content = data(5000)
    error = RuntimeError("the source is gone")
    written: list[Written] = []
    with store.writer() as writer:
        with pytest.raises(RuntimeError) as caught:
            collect(written, writer.write(FailingDisk(content, at, error), [(0, 5000)]))
        assert caught.value is error
        end = written[-1].next_block if written else 0
        assert end <= at
        rest = list(writer.write(BytesDisk(content), [(end, 5000 - end)]))
    assert restored(store, written + rest, len(content)) == content


class ShortDisk(BytesDisk):
    """Says that it read a byte less than asked."""

    def pread_into(self, offset: int, buffer: memoryview) -> int:  # type: ignore[override] # it breaks the contract
        super().pread_into(offset, buffer)
        return len(buffer) - 1


def test_a_short_read_is_an_error(store: ChunkStore) -> None:
    """A disk that admits a short read fails the write: a reused buffer's old bytes are never taken for data."""
    with store.writer() as writer, pytest.raises(Unavailable) as caught:
        list(writer.write(ShortDisk(data(5)), [(0, 5)]))
    assert caught.value.code == "short-read"
    assert list(store.packs()) == []


def test_a_full_store_ends_the_write(tmp_path: Path, small_batches: None) -> None:
    """When a pack finds no space with all queues full, the Limit comes out; no row cites that pack or a later one.

    A second attempt succeeds with new pack ids, and is given the packs that the first one stored.
    """
    tried: list[str] = []

    def full(operation: str, name: str) -> None:
        if operation == "put":
            tried.append(name)
            if len(tried) == 4:
                raise Limit("no space", code="store-full")

    real = MemoryObjects()
    store = make_store(FaultyObjects(real, full), tmp_path, workers=4)
    content = data(3000)
    written: list[Written] = []
    with store.writer() as writer:
        with pytest.raises(Limit):
            collect(written, writer.write(BytesDisk(content), [(0, 3000)]))
        stored = {found.name for found in real.list("")}
        assert {pack_name(pack) for each in written for pack in each.rows.packs} <= stored
        assert stored == set(tried[:3])
        again = list(writer.write(BytesDisk(content), [(0, 3000)]))
    assert tried[3] not in {found.name for found in real.list("")}
    assert len(set(tried)) == len(tried)
    given = {pack.pack_id for each in [*written, *again] for pack in each.packs}
    assert {pack for each in again for pack in each.rows.packs} <= given
    assert restored(store, again, len(content)) == content


def test_a_retried_pack_has_a_new_id_and_key(tmp_path: Path) -> None:
    """A pack that failed to be stored is never offered again: its content goes out under another id and key."""
    offered: list[tuple[str, bytes]] = []

    class Recorder(MemoryObjects):
        def put(self, name: str, *buffers: memoryview) -> None:
            offered.append((name, b"".join(buffers)))
            if len(offered) == 1:
                raise Unavailable("try later", code="store-unavailable")
            super().put(name, *buffers)

    store = make_store(Recorder(), tmp_path)
    content = noise(CHUNK, 1)
    with pytest.raises(Unavailable):
        back_up(store, content)
    back_up(store, content)
    (first, one), (second, two) = offered
    assert first != second
    assert one[64 + 48 : 64 + 48 + CHUNK] != two[64 + 48 : 64 + 48 + CHUNK]


def test_an_abandoned_write_leaves_a_usable_writer(store: ChunkStore, small_batches: None) -> None:
    """A caller that closes the iterator early gets all buffers back and can write again, as often as it likes."""
    content = data(2000)
    with store.writer() as writer:
        for _ in range(20):
            rows: Iterator[Written] = writer.write(BytesDisk(content), [(0, 2000)])
            next(rows)
            rows.close()  # type: ignore[attr-defined] # a generator in fact
        written = list(writer.write(BytesDisk(content), [(0, 2000)]))
    assert restored(store, written, len(content)) == content


def test_one_disk_at_a_time(store: ChunkStore, small_batches: None) -> None:
    """A second write on a writer that has not finished is refused, not deadlocked."""
    with store.writer() as writer:
        rows = writer.write(BytesDisk(data(2000)), [(0, 2000)])
        next(rows)
        with pytest.raises(Conflict) as caught:
            list(writer.write(BytesDisk(data(1)), [(0, 1)]))
        assert caught.value.code == "writer-busy"
        assert len(list(rows)) > 0


def test_a_disk_with_too_many_blocks_is_refused(store: ChunkStore) -> None:
    """Blocks are numbered in 32 bits; a disk beyond that is a Limit, not a wrap-around."""
    disk = BytesDisk(b"")
    disk.size_bytes = CHUNK * 2**32 + 1
    with store.writer() as writer, pytest.raises(Limit) as caught:
        list(writer.write(disk, [(0, 1)]))
    assert caught.value.code == "disk-size"


def test_threads_end_with_the_writer(store: ChunkStore) -> None:
    """When the context ends, also by an error, no thread of the writer is left."""
    before = set(threading.enumerate())
    with pytest.raises(HoldfastError), store.writer() as writer:
        list(writer.write(ShortDisk(data(5)), [(0, 5)]))
    back_up(store, data(5))
    assert set(threading.enumerate()) <= before


def test_waiting_rows_are_bounded(tmp_path: Path, objects: MemoryObjects, monkeypatch: pytest.MonkeyPatch) -> None:
    """When hardly anything is new, the open pack is stored early, so that rows do not pile up behind it."""
    monkeypatch.setattr(pending, "BATCH_ROWS", 100)
    monkeypatch.setattr("storage.chunks.writer.MAX_UNMARKED_ROWS", 1500)
    store = make_store(objects, tmp_path, pack_bytes=8 << 20)
    content = data(10) * 1000
    with store.writer() as writer:
        written = list(writer.write(BytesDisk(content), [(0, 10_000)]))
        assert len(written) > 3
        assert len({pack.pack_id for each in written for pack in each.packs}) == 1
    assert restored(store, written, len(content)) == content

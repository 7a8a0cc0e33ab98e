"""The chunk store as a whole: its packs, verification, and an index that is only a cache."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage.chunks.store import ChunkStore
from storage.errors import Corrupt, HoldfastError, Invalid, NotFound
from storage.packs.format import TRAILER_BYTES, pack_name
from tests.support.chunk_store import CHUNK, back_up, make_store, noise, replace_object, restored, rows_in
from tests.support.memory_objects import MemoryObjects

CONTENT = b"".join(noise(CHUNK, block) for block in range(60))


def new_chunks(store: ChunkStore, content: bytes = CONTENT) -> int:
    """How many chunks another backup of the content adds."""
    return sum(each.new_chunks for each in back_up(store, content))


def contents(objects: MemoryObjects, pack_id: bytes) -> bytes:
    """A pack's bytes."""
    return objects.read_tail(pack_name(pack_id), 1 << 30)[1]


@pytest.mark.parametrize("chunk_bytes", [0, -4096, 2048, 5000, 96 << 10, 8 << 20])
def test_other_chunk_sizes_are_refused(objects: MemoryObjects, tmp_path: Path, chunk_bytes: int) -> None:
    """A chunk is a power of two from 4 KiB to 4 MiB."""
    with pytest.raises(Invalid) as caught:
        make_store(objects, tmp_path, chunk_bytes=chunk_bytes)
    assert caught.value.code == "chunk-bytes"


@pytest.mark.parametrize("pack_bytes", [0, CHUNK, 1 << 32])
def test_other_pack_sizes_are_refused(objects: MemoryObjects, tmp_path: Path, pack_bytes: int) -> None:
    """A pack holds at least one chunk and its offsets fit in 32 bits."""
    with pytest.raises(Invalid) as caught:
        make_store(objects, tmp_path, pack_bytes=pack_bytes)
    assert caught.value.code == "pack-bytes"


@pytest.mark.parametrize("chunk_bytes", [64 << 10, 4 << 20])
def test_large_chunks_read_back(objects: MemoryObjects, tmp_path: Path, chunk_bytes: int) -> None:
    """The largest chunks work like the small ones, in packs that hold just one of them."""
    store = make_store(objects, tmp_path, chunk_bytes=chunk_bytes, pack_bytes=chunk_bytes + 4096)
    content = noise(2 * chunk_bytes + 77, 1)
    written = back_up(store, content)
    assert len(list(store.packs())) >= 2
    assert restored(store, written, len(content)) == content


def test_packs_are_listed_and_described(store: ChunkStore, objects: MemoryObjects) -> None:
    """Every pack in the store is listed once and described as it was when it was sealed; other objects are not."""
    given = [pack for each in back_up(store, CONTENT) for pack in each.packs]
    objects.put("packs/readme", memoryview(b"hello"))
    objects.put("packs/00/3f" + "0" * 30, memoryview(b"wrong folder"))
    objects.put("segments/1", memoryview(b"other"))
    assert list(store.packs()) == sorted(pack.pack_id for pack in given)
    assert sorted(map(repr, map(store.sealed, store.packs()))) == sorted(map(repr, given))
    with pytest.raises(NotFound):
        store.sealed(bytes(16))


def test_a_sound_pack_verifies(store: ChunkStore) -> None:
    """Both levels find nothing wrong with what was just written, and say how much they checked."""
    given = [pack for each in back_up(store, CONTENT) for pack in each.packs]
    stored = [store.verify_pack(pack.pack_id, level="stored") for pack in given]
    content = [store.verify_pack(pack.pack_id, level="content") for pack in given]
    assert [report.problems for report in stored + content] == [()] * 2 * len(given)
    assert [report.checked_bytes for report in stored] == [pack.size_bytes for pack in given]
    assert sum(report.checked_bytes for report in content) == len(CONTENT)
    assert sum(report.chunks for report in content) == sum(report.chunks for report in stored) == 60


def test_a_damaged_record_is_named(store: ChunkStore, objects: MemoryObjects) -> None:
    """Verifying the content of a pack with one bad record names that chunk and still checks the others."""
    rows = rows_in(back_up(store, CONTENT))
    pack_id = rows.packs[0]
    damaged = bytearray(contents(objects, pack_id))
    damaged[int(rows.offsets[2]) + 60] ^= 1
    replace_object(objects, pack_name(pack_id), bytes(damaged))
    assert len(store.verify_pack(pack_id, level="stored").problems) == 1
    report = store.verify_pack(pack_id, level="content")
    assert len(report.problems) == 2
    assert rows.digests[2].tobytes().hex() in report.problems[1]
    assert report.checked_bytes == (report.chunks - 1) * CHUNK


@pytest.mark.parametrize("cut", [1, TRAILER_BYTES, TRAILER_BYTES + 40, 20_000])
def test_a_pack_without_its_end_is_still_checked_forwards(store: ChunkStore, objects: MemoryObjects, cut: int) -> None:
    """A pack whose end is lost is a problem, and the chunks that can still be read are counted."""
    rows = rows_in(back_up(store, CONTENT))
    pack_id = rows.packs[0]
    content = contents(objects, pack_id)
    replace_object(objects, pack_name(pack_id), content[:-cut])
    report = store.verify_pack(pack_id, level="content")
    whole = int((rows.offsets[rows.pack_index == 0].astype(int) + CHUNK + 64 <= len(content) - cut).sum())
    assert report.problems
    assert (report.chunks, report.checked_bytes) == (whole, whole * CHUNK)


def test_a_missing_pack_is_a_problem(store: ChunkStore) -> None:
    """Absence is reported like damage, at both levels."""
    assert store.verify_pack(bytes(16), level="stored").problems
    assert store.verify_pack(bytes(16), level="content").problems


def test_a_lost_index_is_loaded_from_the_packs(objects: MemoryObjects, tmp_path: Path) -> None:
    """With an empty index a synchronisation loads every footer, says so, and a second one loads nothing."""
    given = {
        pack.pack_id: pack for each in back_up(make_store(objects, tmp_path / "a"), CONTENT) for pack in each.packs
    }
    store = make_store(objects, tmp_path / "b")
    assert {pack.pack_id: pack for pack in store.sync_index()} == given
    assert store.sync_index() == []
    assert new_chunks(store) == 0
    assert make_store(objects, tmp_path / "b").sync_index() == []


@pytest.mark.parametrize("pack_bytes", [64 << 10, 64 << 20])
def test_a_damaged_index_is_told_and_loaded_again(objects: MemoryObjects, tmp_path: Path, pack_bytes: int) -> None:
    """A torn index file is named in `index_problems`, and its packs are what a synchronisation returns.

    With one pack the file made anew has the name of the torn one.
    """
    made = back_up(make_store(objects, tmp_path, pack_bytes=pack_bytes), CONTENT)
    packs = {pack.pack_id for each in made for pack in each.packs}
    assert (len(packs) == 1) == (pack_bytes > 64 << 10)
    run = next(tmp_path.glob("*.run"))
    run.write_bytes(run.read_bytes()[:-10])
    store = make_store(objects, tmp_path)
    assert len(store.index_problems) == 1
    assert {pack.pack_id for pack in store.sync_index()} == packs
    assert new_chunks(store) == 0
    assert make_store(objects, tmp_path).index_problems == ()


def test_only_wanted_packs_are_cited(store: ChunkStore) -> None:
    """A pack that the caller does not want is not cited by later backups; its chunks are stored again."""
    rows = rows_in(back_up(store, CONTENT))
    unwanted = rows.packs[0]
    assert store.sync_index(set(rows.packs) - {unwanted}) == []
    written = back_up(store, CONTENT)
    assert unwanted not in rows_in(written).packs
    assert sum(each.new_chunks for each in written) == int((rows.pack_index == 0).sum())


def test_a_pack_that_is_gone_is_not_cited(store: ChunkStore, objects: MemoryObjects) -> None:
    """A pack that the index knows but the store lost is reported, and the next backup stores its chunks again."""
    rows = rows_in(back_up(store, CONTENT))
    gone = rows.packs[1]
    objects.delete(pack_name(gone))
    with pytest.raises(NotFound):
        store.sync_index(rows.packs)
    bad: dict[bytes, HoldfastError] = {}
    assert store.sync_index(rows.packs, on_bad=bad.__setitem__) == []
    assert list(bad) == [gone]
    written = back_up(store, CONTENT)
    assert gone not in rows_in(written).packs
    assert restored(store, written, len(CONTENT)) == CONTENT


def test_a_pack_with_a_damaged_footer_is_not_cited(objects: MemoryObjects, tmp_path: Path) -> None:
    """A footer that does not verify is reported, the other packs are loaded, and the chunks are stored again."""
    rows = rows_in(back_up(make_store(objects, tmp_path / "a"), CONTENT))
    content = bytearray(contents(objects, rows.packs[0]))
    content[-TRAILER_BYTES - 1] ^= 1
    replace_object(objects, pack_name(rows.packs[0]), bytes(content))
    store = make_store(objects, tmp_path / "b")
    bad: dict[bytes, HoldfastError] = {}
    assert len(store.sync_index(on_bad=bad.__setitem__)) == len(rows.packs) - 1
    assert [(pack, error.code) for pack, error in bad.items()] == [(rows.packs[0], "pack-footer")]
    with pytest.raises(Corrupt):
        store.sync_index()
    assert new_chunks(store) == int((rows.pack_index == 0).sum())


def test_a_rebuild_needs_footers_only(objects: MemoryObjects, tmp_path: Path) -> None:
    """A rebuilt index equals the old one; a pack without a footer is left out, or read forwards when asked."""
    store = make_store(objects, tmp_path)
    rows = rows_in(back_up(store, CONTENT))
    report = store.rebuild_index()
    assert (report.packs, report.entries, report.salvaged, report.unreadable) == (len(rows.packs), 60, (), ())
    assert new_chunks(store) == 0
    content = contents(objects, rows.packs[0])
    replace_object(objects, pack_name(rows.packs[0]), content[:-100])
    held = int((rows.pack_index == 0).sum())
    report = store.rebuild_index()
    assert (report.packs, report.entries) == (len(rows.packs) - 1, 60 - held)
    assert [pack for pack, _ in report.unreadable] == [rows.packs[0]]
    report = store.rebuild_index(salvage=True)
    assert (report.packs, report.entries, report.unreadable) == (len(rows.packs), 60, ())
    assert report.salvaged == (rows.packs[0],)
    assert new_chunks(store) == 0


def test_a_rebuild_in_many_runs_is_complete(
    objects: MemoryObjects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rebuild that writes a run per few packs ends with all of them merged and findable."""
    monkeypatch.setattr("storage.chunks.rebuild._RUN_ENTRIES", 20)
    store = make_store(objects, tmp_path)
    back_up(store, CONTENT)
    assert store.rebuild_index().entries == 60
    assert new_chunks(make_store(objects, tmp_path)) == 0
    assert list((tmp_path / ".partial").iterdir()) == []


def test_a_rebuild_of_what_is_there_leaves_nothing_behind(objects: MemoryObjects, tmp_path: Path) -> None:
    """A rebuild that comes to the very runs the index has keeps them, and no staged copy."""
    store = make_store(objects, tmp_path)
    back_up(store, CONTENT)
    for _ in range(2):
        assert store.rebuild_index().entries == 60
        assert list((tmp_path / ".partial").iterdir()) == []
    assert new_chunks(make_store(objects, tmp_path)) == 0

"""The resolver against a dictionary: any chain, any window, either source, with and without checkpoints."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.domain import ids
from catalog.log import EventLog
from catalog.projections import TABLES, Projector
from catalog.resolve import BlockMap, EventRows, LakeRows, Resolver
from storage.chunks.rows import ChunkRows, ZeroRuns
from storage.errors import Corrupt, Invalid, NotFound
from storage.lake import Lake
from tests.support.recorded import Author, Change, rows_at

Place = tuple[bytes, bytes, int, int]
MAX_BLOCKS = 40


@st.composite
def changes(draw: st.DrawFn, number: int) -> Change:
    """One point of a disk: which blocks got data, which became zero, and how large the disk was."""
    blocks = draw(st.integers(1, MAX_BLOCKS))
    fate = draw(st.lists(st.sampled_from("-d0"), min_size=blocks, max_size=blocks))
    written = [block for block in range(blocks) if fate[block] == "d"]
    zeros = np.array([kind == "0" for kind in fate] + [False])
    edges = np.flatnonzero(np.diff(zeros, prepend=False))
    runs = ZeroRuns(edges[::2].astype(np.uint32), (edges[1::2] - edges[::2]).astype(np.uint32))
    full = draw(st.integers(0, 5)) == 0
    parent = draw(st.integers(1, number - 1)) if number > 1 and draw(st.integers(0, 3)) == 0 else None
    return Change(rows_at(written, number), runs, blocks=blocks, full=full, parent=parent)


@st.composite
def chains(draw: st.DrawFn) -> list[Change]:
    """Points of one disk, oldest first; the first is a full whatever it says."""
    return [draw(changes(number)) for number in range(1, draw(st.integers(1, 9)) + 1)]


def places(rows: ChunkRows) -> dict[int, Place]:
    """Block to (digest, pack, offset, stored)."""
    return {
        int(rows.blocks[i]): (
            rows.digests[i].tobytes(),
            rows.packs[rows.pack_index[i]],
            int(rows.offsets[i]),
            int(rows.stored[i]),
        )
        for i in range(len(rows))
    }


def expected(chain: list[Change], seq: int) -> dict[int, Place]:
    """The naive answer."""
    change = chain[seq - 1]
    alone = seq == 1 or change.full
    found = {} if alone else expected(chain, change.parent or seq - 1)
    found = {block: place for block, place in found.items() if block < change.blocks}
    for start, count in zip(change.zeros.starts.tolist(), change.zeros.counts.tolist(), strict=True):
        for block in range(start, start + count):
            found.pop(block, None)
    return found | places(change.rows)


def resolved(block_map: BlockMap) -> dict[int, Place]:
    """The resolver's answer."""
    return {block: place for rows in block_map.rows() for block, place in places(rows).items()}


@contextmanager
def recorded(chain: list[Change], root: Path) -> Iterator[tuple[EventLog, Lake, UUID, UUID]]:
    """The chain in a log and in a lake."""
    with EventLog.create(root / "events.sqlite") as log:
        author = Author(log, batch_rows=7)
        machine_id = author.machine("vm")
        for change in chain:
            author.backup(machine_id, {"vda": change})
        with closing(Lake.create(root / "index", TABLES)) as lake:
            Projector(log, lake).catch_up()
            yield log, lake, machine_id, ids.disk_id(machine_id, "vda")


@settings(max_examples=20, deadline=None)
@given(chains(), st.integers(0, MAX_BLOCKS), st.integers(1, MAX_BLOCKS))
def test_every_map_is_the_naive_one(chain: list[Change], low: int, length: int) -> None:
    """Lake and events, with checkpoints cold, warm and absent, whole and in windows: all give the naive map."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        with recorded(chain, root) as (log, lake, machine_id, disk_id):
            for name, source in (("lake", LakeRows(lake)), ("events", EventRows(log, machine_id))):
                kept = root / name
                small = {"segment_blocks": 8, "checkpoint_every": 2, "checkpoint_rows": 1}
                for resolver in (Resolver(source), Resolver(source, kept, **small), Resolver(source, kept, **small)):
                    for seq in range(len(chain), 0, -1):
                        blocks = chain[seq - 1].blocks
                        wanted = expected(chain, seq)
                        assert resolved(resolver.map(disk_id, seq)) == wanted
                        first = min(low, blocks)
                        count = min(length, blocks - first)
                        inside = {b: place for b, place in wanted.items() if first <= b < first + count}
                        assert resolved(resolver.map(disk_id, seq, first, count)) == inside
                        windows = [resolved(part) for part in resolver.windows(disk_id, seq)]
                        assert {b: place for part in windows for b, place in part.items()} == wanted


def chain_of(count: int) -> list[Change]:
    """A full and incrementals of a small disk."""
    full = Change(rows_at(range(64), 1))
    return [full, *(Change(rows_at(range(n % 7, 64, 5), n)) for n in range(2, count + 1))]


def test_locations_alone_are_the_same_without_digests(tmp_path: Path) -> None:
    """A map without digests differs from one with them in nothing else."""
    with recorded(chain_of(5), tmp_path) as (_, lake, _, disk_id):
        resolver = Resolver(LakeRows(lake))
        with_digests, without = resolver.map(disk_id, 5), resolver.map(disk_id, 5, digests=False)
        assert without.digests is None
        assert with_digests.digests is not None
        for column in ("pack_index", "offsets", "stored"):
            np.testing.assert_array_equal(getattr(with_digests, column), getattr(without, column))


@pytest.mark.parametrize("harm", ["flip", "cut", "empty", "remove"])
def test_a_harmed_checkpoint_is_made_again(tmp_path: Path, harm: str) -> None:
    """Whatever happens to the cache's files, the map stays right and the files come back."""
    chain = chain_of(7)
    with recorded(chain, tmp_path) as (_, lake, _, disk_id):
        kept = tmp_path / "kept"

        def fresh() -> Resolver:
            return Resolver(LakeRows(lake), kept, checkpoint_every=3, checkpoint_rows=1)

        fresh().map(disk_id, 7)
        files = sorted(kept.glob("*/*"))
        assert len(files) == 2
        whole = [path.read_bytes() for path in files]
        for path, data in zip(files, whole, strict=True):
            _harm(path, data, harm)
        assert resolved(fresh().map(disk_id, 7)) == expected(chain, 7)
        assert [path.read_bytes() for path in files] == whole


def _harm(path: Path, data: bytes, harm: str) -> None:
    path.unlink()
    if harm == "flip":
        middle = len(data) // 2
        path.write_bytes(data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])
    elif harm == "cut":
        path.write_bytes(data[:-5])
    elif harm == "empty":
        path.write_bytes(b"")


def test_checkpoints_of_another_history_are_not_used(tmp_path: Path) -> None:
    """A disk of the same name whose points hold other rows gets its own map from a folder that knows the other."""
    for home, salt in (("one", 1), ("two", 7)):
        chain = [Change(rows_at(range(0, 64, salt), salt + number)) for number in range(4)]
        (tmp_path / home).mkdir()
        with recorded(chain, tmp_path / home) as (_, lake, _, disk_id):
            resolver = Resolver(LakeRows(lake), tmp_path / "kept", checkpoint_every=2, checkpoint_rows=1)
            assert resolved(resolver.map(disk_id, 4)) == expected(chain, 4)


def test_a_checkpoint_is_used(tmp_path: Path) -> None:
    """A map from a checkpoint needs only the rows behind it."""
    chain = chain_of(8)
    with recorded(chain, tmp_path) as (_, lake, _, disk_id):
        asked: list[list[int]] = []

        class Watched(LakeRows):
            def deltas(self, points, first_block, count, *, digests):  # type: ignore[no-untyped-def]  # as its base
                asked.append([point.seq for point in points])
                return super().deltas(points, first_block, count, digests=digests)

        for _ in range(2):
            resolver = Resolver(Watched(lake), tmp_path / "kept", checkpoint_every=3, checkpoint_rows=1)
            assert resolved(resolver.map(disk_id, 8)) == expected(chain, 8)
        assert asked == [[1, 2, 3, 4, 5, 6, 7], [8], [8]]


def test_the_cache_keeps_to_its_budget(tmp_path: Path) -> None:
    """The oldest checkpoints go when there are more bytes than allowed."""
    with recorded(chain_of(9), tmp_path) as (_, lake, _, disk_id):
        kept = tmp_path / "kept"
        resolver = Resolver(LakeRows(lake), kept, checkpoint_every=2, checkpoint_rows=1, cache_bytes=9000)
        for seq in range(1, 10):
            resolver.map(disk_id, seq)
        files = list(kept.glob("*/*"))
        assert sum(path.stat().st_size for path in files) <= 9000
        assert any(path.name.startswith("9-") for path in files)


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    """Without room for a checkpoint the map is still right."""
    chain = chain_of(4)
    with recorded(chain, tmp_path) as (_, lake, _, disk_id):
        (tmp_path / "kept").write_text("in the way")
        resolver = Resolver(LakeRows(lake), tmp_path / "kept", checkpoint_rows=1)
        assert resolved(resolver.map(disk_id, 4)) == expected(chain, 4)


def test_what_is_not_there_is_refused(tmp_path: Path) -> None:
    """Unknown points and blocks outside the disk are errors, never empty maps."""
    with recorded(chain_of(2), tmp_path) as (log, lake, machine_id, disk_id):
        for source in (LakeRows(lake), EventRows(log, machine_id)):
            with pytest.raises(NotFound):
                Resolver(source).map(disk_id, 3)
            with pytest.raises(NotFound):
                Resolver(source).map(UUID(int=5), 1)
            for first, count in ((-1, 1), (0, 65), (64, 1), (3, -1)):
                with pytest.raises(Invalid) as caught:
                    Resolver(source).map(disk_id, 1, first, count)
                assert caught.value.code == "block-range"


def test_rows_missing_from_the_index_are_noticed(tmp_path: Path) -> None:
    """A point that should have more rows than the index gives is Corrupt, not a map with holes."""
    with recorded(chain_of(3), tmp_path) as (_, lake, _, disk_id):

        class Lossy(LakeRows):
            def deltas(self, points, first_block, count, *, digests):  # type: ignore[no-untyped-def]  # as its base
                found = list(super().deltas(points, first_block, count, digests=digests))
                return iter([delta for delta in found if delta.seq != 2 or not len(delta.rows)])

        with pytest.raises(Corrupt) as caught:
            Resolver(Lossy(lake)).map(disk_id, 3)
        assert caught.value.code == "rows-missing"


def test_batches_other_than_the_sealed_ones_are_noticed(tmp_path: Path) -> None:
    """A batch behind those that the restore point sealed makes its rows Corrupt."""
    with EventLog.create(tmp_path / "events.sqlite") as log:
        author = Author(log)
        machine_id = author.machine("vm")
        author.backup(machine_id, {"vda": Change(rows_at(range(9), 1))})
        disk_id = ids.disk_id(machine_id, "vda")
        batch = next(r.event for r in log.follow() if type(r.event).__name__ == "ChunksRecorded")
        fields = {name: getattr(batch, name) for name in batch.__struct_fields__[3:]}
        author.save(batch.originator_id, type(batch), **fields)
        with pytest.raises(Corrupt) as caught:
            Resolver(EventRows(log, machine_id)).map(disk_id, 1)
        assert caught.value.code == "batches-not-sealed"

"""Chains, block maps and references against laying restore points over one another, block by block."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from catalog.access.caller import EVERYTHING
from catalog.queries.reads import Asked, CatalogReads
from catalog.queries.rows import PointRow
from storage.errors import Invalid
from tests.support.history import DIGESTS
from tests.support.naive_reads import Map, Naive
from tests.support.read_world import World, asked_and_naive, whole


def test_disks_of_a_point_tell_their_chain_and_their_blocks(some: World) -> None:
    """Chain, block map and provenance are what laying the points over one another gives."""
    for asked, naive in asked_and_naive(some):
        for _, event in some.random.sample(naive.points, min(4, len(naive.points))):
            point = event.restore_point_id
            rows = some.reads.point_disks(asked, point).rows
            wanted = sorted(event.disks, key=lambda disk: (disk.label, str(disk.disk_id)))
            assert [(row.disk_id, row.seq, row.parent_seq) for row in rows] == [
                (disk.disk_id, disk.seq, disk.parent_seq) for disk in wanted
            ]
            supplied = some.reads.provenance(asked, point).rows
            for row in rows:
                assert list(row.chain) == naive.chain(row.disk_id, row.seq)
                assert row.chain_points == len(row.chain)
                blocks = naive.map(row.disk_id, row.seq)
                assert shown(some.reads, asked, point, row.disk_id) == blocks
                check_provenance([one for one in supplied if one.disk_id == row.disk_id], blocks, row)


def shown(reads: CatalogReads, asked: Asked, point: UUID, disk_id: UUID) -> Map:
    """The block map as the stream tells it."""
    schema, batches = reads.block_map(asked, point, disk_id)
    found: Map = {}
    following = 0
    for batch in batches:
        assert batch.schema == schema
        for row in batch.to_pylist():
            assert row["block"] == following
            following += row["blocks"]
            if row["kind"] == "chunk":
                found[row["block"]] = (0, row["digest"], row["pack_id"], row["pack_offset"], row["stored_bytes"])
            else:
                assert row["digest"] is row["pack_id"] is row["pack_offset"] is row["stored_bytes"] is None
            if row["kind"] == "zero":
                found |= dict.fromkeys(range(row["block"], following), "zero")
    return SameBlocks(found)


class SameBlocks(dict[int, Any]):
    """A map that equals another but for the writers, which a stream does not tell."""

    def __eq__(self, other: object) -> bool:
        assert isinstance(other, dict)
        return self.keys() == other.keys() and all(_place(self[block]) == _place(other[block]) for block in self)

    __hash__ = None  # type: ignore[assignment]  # a dict has none


def _place(cell: Any) -> Any:
    return cell[1:] if isinstance(cell, tuple) else cell


def check_provenance(rows: list[Any], blocks: Map, disk: Any) -> None:
    """Every chunk is supplied by its writer; bytes end where the disk does."""
    writers = {block: cell[0] for block, cell in blocks.items() if isinstance(cell, tuple)}
    counts = {seq: list(writers.values()).count(seq) for seq in set(writers.values())}
    assert {row.seq: row.blocks for row in rows} == counts
    size = {
        seq: sum(
            min(disk.chunk_bytes, disk.size_bytes - block * disk.chunk_bytes)
            for block in writers
            if writers[block] == seq
        )
        for seq in counts
    }
    assert {row.seq: row.bytes for row in rows} == size
    assert not rows or sum(row.share for row in rows) == pytest.approx(1)


def test_a_part_of_a_map_is_that_part(some: World) -> None:
    """Any window of blocks has the rows of the whole map that are in it; others are refused."""
    asked = Asked(EVERYTHING)
    for point in some.reads.restore_points(asked, include_deleted=True).rows[:5]:
        disk = some.reads.point_disks(asked, point.restore_point_id).rows[0]
        total = -(-disk.size_bytes // disk.chunk_bytes)
        cells = spread(some.reads, asked, point, disk.disk_id, 0, total)
        first = some.random.randrange(total)
        count = some.random.randint(0, total - first)
        assert spread(some.reads, asked, point, disk.disk_id, first, count) == cells[first : first + count]
        for start, length in ((-1, 1), (0, total + 1), (total + 1, 0), (0, -1)):
            with pytest.raises(Invalid, match="blocks"):
                some.reads.block_map(asked, point.restore_point_id, disk.disk_id, first_block=start, count=length)


def spread(
    reads: CatalogReads, asked: Asked, point: PointRow, disk_id: UUID, first: int, count: int
) -> list[tuple[Any, ...]]:
    """A row for each block."""
    _, batches = reads.block_map(asked, point.restore_point_id, disk_id, first_block=first, count=count)
    rows = [row for batch in batches for row in batch.to_pylist()]
    return [
        (row["block"] + more, row["kind"], row["digest"], row["pack_id"], row["pack_offset"])
        for row in rows
        for more in range(row["blocks"])
    ]


def test_references_are_the_points_that_hold_a_chunk(some: World) -> None:
    """Written and inherited, at each position and for each scope; deleted points are not counted."""
    for asked, naive in asked_and_naive(some):
        digest = some.random.choice(DIGESTS)
        rows = whole(lambda one, digest=digest: some.reads.references(one, digest), replace(asked, limit=7))
        assert [(str(row.disk_id), row.seq, row.first_block, row.blocks) for row in rows] == naive.references(digest)
        held = whole(
            lambda one, digest=digest: some.reads.references(one, digest, inherited=True), replace(asked, limit=7)
        )
        assert sorted(spans(held, naive)) == wanted_spans(naive, digest)


def test_a_chunk_of_a_run_that_is_not_committed_is_nobodys(some: World) -> None:
    """Before the first restore point there is nothing to refer to, though chunks of it are recorded by then."""
    committed = some.naive(some.reads.position, EVERYTHING).points[0][0]
    for position in range(committed):
        asked = Asked(EVERYTHING, as_of=position)
        for digest in DIGESTS:
            assert some.reads.references(asked, digest, inherited=True).rows == ()
            assert some.reads.search(asked, digest.hex()).rows == ()


def spans(rows: list[Any], naive: Naive) -> list[tuple[str, int, int]]:
    """(disk, seq, block) of each row, its counts checked on the way."""
    found = []
    for row in rows:
        points = naive.disk_points[row.disk_id]
        seqs = [seq for seq in sorted(points) if row.seq <= seq <= row.last_seq]
        kept = [seq for seq in seqs if points[seq][0].restore_point_id not in naive.deleted]
        assert row.points == len(kept)
        assert row.restore_point_id == points[row.seq][0].restore_point_id
        assert row.last_restore_point_id == points[row.last_seq][0].restore_point_id
        after = [seq for seq in sorted(points) if seq > row.last_seq]
        assert row.until_restore_point_id == (points[after[0]][0].restore_point_id if after else None)
        found += [(str(row.disk_id), seq, row.first_block + more) for seq in kept for more in range(row.blocks)]
    return found


def wanted_spans(naive: Naive, digest: bytes) -> list[tuple[str, int, int]]:
    """Those of points that were not deleted."""
    return [
        (disk, seq, block)
        for disk, seq, block in naive.inherited(digest)
        if naive.disk_points[UUID(disk)][seq][0].restore_point_id not in naive.deleted
    ]

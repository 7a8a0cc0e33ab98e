"""Which restore points hold a chunk: those that wrote it, and those that inherit it. Imports `catalog`, `storage`.

Who wrote a chunk is a look-up by digest. How long it stays is read from the later rows of the same blocks, a disk at
a time and only as many disks as a page needs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from catalog.access.caller import Scope
from catalog.domain import ids
from catalog.queries.asked import Asked, Key, Page, bad_cursor
from catalog.queries.citations import Citations, Numbers, citations
from catalog.queries.moment import Moment, time_of
from catalog.queries.points import disk_rows
from catalog.queries.rows import ReferenceRow
from catalog.queries.warm import NULL
from storage.lake import Lake
from storage.lake.tables import Where

CELLS = 1 << 25
"""How many pairs of a point and a block are looked at together, a byte each."""


@dataclass(frozen=True, slots=True)
class Written:
    """What one disk has of a chunk: the points (seq) and blocks it was written to, ascending by both.

    `rows` are all of the disk's points, as rows in `disk_points`.
    """

    disk_id: str
    rows: Numbers
    seqs: Numbers
    blocks: Numbers


@dataclass(frozen=True, slots=True)
class Held:
    """Blocks that hold the chunk in the points `first` .. `last`, which are places among the disk's points."""

    first: int
    last: int
    block: int
    blocks: int


def references(moment: Moment, lake: Lake, asked: Asked, digest: bytes, *, inherited: bool) -> Page[ReferenceRow]:
    """See `CatalogReads.references`."""
    after = asked.after
    if after is not None and (len(after) != 3 or [type(part) for part in after] != [str, int, int]):
        raise bad_cursor()
    cited = citations(moment, lake, asked.scope, digest)
    rows = _inherited_rows(moment, lake, asked, cited) if inherited else _direct_rows(moment, asked, cited)
    some = list(islice(rows, asked.limit + 1))
    following = _key(some[asked.limit - 1]) if len(some) > asked.limit else None
    return Page(tuple(some[: asked.limit]), following, moment.position)


def is_held(moment: Moment, lake: Lake, scope: Scope, digest: bytes) -> bool:
    """Whether any machine of a scope has written the chunk."""
    return bool(len(citations(moment, lake, scope, digest).blocks))


def _direct_rows(moment: Moment, asked: Asked, cited: Citations) -> Iterator[ReferenceRow]:
    """The runs of blocks that each point wrote, in order, behind the cursor."""
    begins, counts = cited.runs()
    wanted = _alive(moment, cited.points[begins])
    if asked.after is not None:
        wanted &= cited.behind(begins, asked.after)
    for run in np.flatnonzero(wanted)[: asked.limit + 1].tolist():
        begin = int(begins[run])
        point = int(cited.points[begin])
        yield ReferenceRow(**_place(moment, point), first_block=int(cited.blocks[begin]), blocks=int(counts[run]))


def _inherited_rows(moment: Moment, lake: Lake, asked: Asked, cited: Citations) -> Iterator[ReferenceRow]:
    for disk_id, places in cited.of_disks("" if asked.after is None else str(asked.after[0])):
        rows = disk_rows(moment, moment.words("disk").find(disk_id))
        written = Written(disk_id, rows, cited.seqs[places], cited.blocks[places])
        held = _inherited(moment, lake, written)
        for row in sorted((_row(moment, written, one) for one in held), key=_key):
            if row.points and (asked.after is None or _key(row) > asked.after):
                yield row


def _key(row: ReferenceRow) -> Key:
    return str(row.disk_id), row.seq, row.first_block


def _inherited(moment: Moment, lake: Lake, written: Written) -> Iterator[Held]:
    """The runs of blocks, and the points next to each other in which all of a run holds the chunk."""
    everywhere = np.unique(written.blocks)
    step = max(1, CELLS // len(written.rows))
    for low in range(0, len(everywhere), step):
        blocks = everywhere[low : low + step]
        yield from _spans(_holds(moment, lake, written, blocks), blocks)


def _holds(moment: Moment, lake: Lake, written: Written, blocks: Numbers) -> NDArray[np.bool_]:
    """Which points hold the chunk at which blocks: bool[points, blocks]."""
    table = moment.table("disk_points")
    seqs, parents = table["seq"][written.rows], table["parent_seq"][written.rows]
    holds = np.zeros((len(seqs), len(blocks)), bool)
    writes = _rewritten(moment, lake, written, blocks)
    here = np.isin(written.blocks, blocks)
    mine = np.zeros_like(holds)
    mine[np.searchsorted(seqs, written.seqs[here]), np.searchsorted(blocks, written.blocks[here])] = True
    ends = -(-table["size_bytes"][written.rows] // table["chunk_bytes"][written.rows])
    for place, parent in enumerate(parents.tolist()):
        if parent != NULL:
            holds[place] = holds[np.searchsorted(seqs, parent)]
        holds[place] &= ~writes[place] & (blocks < ends[place])
        holds[place] |= mine[place]
    return holds


def _rewritten(moment: Moment, lake: Lake, written: Written, blocks: Numbers) -> NDArray[np.bool_]:
    """Which points wrote or zeroed which of `blocks`: bool[points, blocks]."""
    table = moment.table("disk_points")
    seqs = table["seq"][written.rows]
    size = int(table["chunk_bytes"][written.rows[0]])
    found = np.zeros((len(seqs), len(blocks)), bool)
    part = ids.part_of(UUID(written.disk_id))
    of_disk: Where = {
        "part": (part, part),
        "disk_id": (written.disk_id, written.disk_id),
        "seq": (int(written.seqs[0]), int(seqs[-1])),
    }
    low, high = int(blocks[0]), int(blocks[-1])
    wanted = pa.array(blocks)
    for batch in lake.read("chunks", ("seq", "block"), where={**of_disk, "block": (low, high)}):
        some = batch.filter(pc.is_in(batch.column("block"), wanted))
        found[
            np.searchsorted(seqs, some.column("seq").to_numpy()),
            np.searchsorted(blocks, some.column("block").to_numpy()),
        ] = True
    zeros: Where = {**of_disk, "kind": ("stored_zero", "stored_zero"), "start_bytes": (None, (high + 1) * size - 1)}
    for batch in lake.read("extents", ("seq", "start_bytes", "length_bytes"), where=zeros):
        seq, start, length = (column.to_numpy(zero_copy_only=False) for column in batch.columns)
        places = np.searchsorted(seqs, seq)
        firsts = np.searchsorted(blocks, start // size)
        lasts = np.searchsorted(blocks, -(-(start + length) // size))
        for place, first, last in zip(places.tolist(), firsts.tolist(), lasts.tolist(), strict=True):
            found[place, first:last] = True
    return found


def _spans(holds: NDArray[np.bool_], blocks: Numbers) -> Iterator[Held]:
    """Runs of points that hold each block, those of neighbouring blocks that are alike in one."""
    spans: dict[tuple[int, int], list[int]] = {}
    edges = np.diff(np.pad(holds, ((1, 1), (0, 0))).astype(np.int8), axis=0)
    for column, block in enumerate(blocks.tolist()):
        first, last = np.flatnonzero(edges[:, column] == 1), np.flatnonzero(edges[:, column] == -1) - 1
        for span in zip(first.tolist(), last.tolist(), strict=True):
            spans.setdefault(span, []).append(block)
    for (low, high), found in spans.items():
        for block, count in _runs(np.array(found)):
            yield Held(low, high, block, count)


def _runs(blocks: Numbers) -> Iterator[tuple[int, int]]:
    """First block and length of the runs in ascending blocks."""
    cuts = np.flatnonzero(np.diff(blocks) != 1) + 1
    for run in np.split(blocks, cuts):
        yield int(run[0]), len(run)


def _row(moment: Moment, written: Written, held: Held) -> ReferenceRow:
    """A run of blocks with the points that it stays in."""
    table = moment.table("disk_points")
    first, last = (int(written.rows[place]) for place in (held.first, held.last))
    points = table["restore_point_id"]
    until = int(written.rows[held.last + 1]) if held.last + 1 < len(written.rows) else -1
    return ReferenceRow(
        **_place(moment, first),
        first_block=held.block,
        blocks=held.blocks,
        points=int(np.count_nonzero(_alive(moment, written.rows[held.first : held.last + 1]))),
        last_seq=int(table["seq"][last]),
        last_restore_point_id=moment.id(int(points[last]), "point"),
        until_restore_point_id=moment.id(int(points[until]), "point") if until >= 0 else None,
        until_recorded_at=time_of(int(table["recorded_at"][until])) if until >= 0 else None,
    )


def _place(moment: Moment, row: int) -> dict[str, Any]:
    """What a reference says of the disk and the point at a row of `disk_points`."""
    table = moment.table("disk_points")
    machine = moment.machine_of[int(table["machine_id"][row])]
    return {
        "machine_id": machine.machine_id,
        "machine": machine.name,
        "source": machine.source,
        "disk_id": moment.id(int(table["disk_id"][row]), "disk"),
        "label": moment.text(int(table["label"][row])),
        "restore_point_id": moment.id(int(table["restore_point_id"][row]), "point"),
        "seq": int(table["seq"][row]),
        "recorded_at": time_of(int(table["recorded_at"][row])),
    }


def _alive(moment: Moment, rows: Numbers) -> NDArray[np.bool_]:
    """Which of these disk points are of restore points that were not deleted."""
    points = moment.point_rows[moment.table("disk_points")["restore_point_id"][rows]]
    return moment.deleted_rows[points] < 0

"""Where a chunk was written, and the runs of blocks that each restore point wrote. Imports `catalog`, `storage`.

Many machines may share a chunk: all places are worked out together, and rows are made for one page only.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from catalog.access.caller import Scope
from catalog.queries.asked import Key
from catalog.queries.moment import Moment
from catalog.queries.points import disk_point_rows
from storage.chunks.rows import DIGEST_BYTES
from storage.errors import Invalid
from storage.lake import Lake

Numbers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Citations:
    """A chunk's places in order of the text of their disk, seq and block.

    `disks` are places in `texts`, which are sorted; `points` are rows in `disk_points`.
    """

    texts: tuple[str, ...]
    disks: Numbers
    points: Numbers
    seqs: Numbers
    blocks: Numbers

    def of_disks(self, first: str) -> Iterator[tuple[str, slice]]:
        """The disks from `first` on, and which places are theirs."""
        for disk in range(bisect_left(self.texts, first), len(self.texts)):
            low, high = np.searchsorted(self.disks, (disk, disk + 1))
            if low < high:
                yield self.texts[disk], slice(int(low), int(high))

    def runs(self) -> tuple[Numbers, Numbers]:
        """The runs of neighbouring blocks of one point: where each begins, and how many blocks it has."""
        if not len(self.blocks):
            return self.blocks, self.blocks
        cuts = (np.diff(self.disks) != 0) | (np.diff(self.seqs) != 0) | (np.diff(self.blocks) != 1)
        begins = np.append(0, np.flatnonzero(cuts) + 1)
        return begins, np.diff(np.append(begins, len(self.blocks)))

    def behind(self, places: Numbers, after: Key) -> NDArray[np.bool_]:
        """Which of some places come behind a cursor: disk, seq, block."""
        text, seq, block = str(after[0]), int(after[1]), int(after[2])
        disk = bisect_left(self.texts, text)
        here = disk < len(self.texts) and self.texts[disk] == text
        disks, seqs, blocks = self.disks[places], self.seqs[places], self.blocks[places]
        found: NDArray[np.bool_] = disks >= disk
        if not here:
            return found
        found = (disks > disk) | ((disks == disk) & ((seqs > seq) | ((seqs == seq) & (blocks > block))))
        return found


def citations(moment: Moment, lake: Lake, scope: Scope, digest: bytes) -> Citations:
    """Everywhere that a chunk was written on machines of a scope. Raises Invalid for what is no digest."""
    if len(digest) != DIGEST_BYTES:
        raise Invalid(f"a digest has {DIGEST_BYTES} bytes, not {len(digest)}", code="digest-text")
    moment.table("disk_points")
    batches = list(lake.find("chunk_refs", digest, ("disk_id", "seq", "block"), position=moment.position))
    if not batches:
        none = np.empty(0, np.int64)
        return Citations((), none, none, none, none)
    found = pa.Table.from_batches(batches)
    encoded = found.column("disk_id").combine_chunks().dictionary_encode()
    texts = encoded.dictionary.to_pylist()
    by_text = sorted(range(len(texts)), key=texts.__getitem__)
    numbers = np.array([moment.words("disk").find(text) for text in texts], np.int64)
    codes = encoded.indices.to_numpy()
    seqs, blocks = (found.column(name).to_numpy().astype(np.int64) for name in ("seq", "block"))
    points = disk_point_rows(moment, numbers[codes], seqs)
    disks = np.argsort(by_text)[codes]
    kept = np.flatnonzero(points >= 0)  # the others are of runs that were not committed by then
    kept = kept[_seen(moment, scope, points[kept])]
    kept = kept[np.lexsort((blocks[kept], seqs[kept], disks[kept]))]
    return Citations(tuple(texts[code] for code in by_text), disks[kept], points[kept], seqs[kept], blocks[kept])


def _seen(moment: Moment, scope: Scope, points: Numbers) -> NDArray[np.bool_]:
    """Which rows of `disk_points` a scope admits."""
    admitted = moment.admits(scope, moment.table("disk_points")["machine_id"][points])
    return np.ones(len(points), bool) if admitted is None else admitted

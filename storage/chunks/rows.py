"""Where blocks are: columns of numpy, one row a block; imports numpy only.

Blocks are numbered from 0 in units of the repository's chunk size. Within one value the blocks ascend strictly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

DIGEST_BYTES = 32
PACK_ID_BYTES = 16


@dataclass(frozen=True, slots=True)
class ChunkRows:
    """n blocks and the chunks that hold them.

    blocks u32[n], digests u8[n, 32], pack_index u16[n] into `packs` (16-byte ids), offsets u32[n] of the
    record in its pack, stored u32[n] bytes of the whole record.
    """

    blocks: NDArray[np.uint32]
    digests: NDArray[np.uint8]
    packs: tuple[bytes, ...]
    pack_index: NDArray[np.uint16]
    offsets: NDArray[np.uint32]
    stored: NDArray[np.uint32]

    def __len__(self) -> int:
        return len(self.blocks)


@dataclass(frozen=True, slots=True)
class ZeroRuns:
    """n runs of zero blocks: starts u32[n], counts u32[n], ascending and not touching."""

    starts: NDArray[np.uint32]
    counts: NDArray[np.uint32]

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def blocks(self) -> int:
        """How many blocks the runs cover."""
        return int(self.counts.sum(dtype=np.int64))


def concat_rows(parts: Sequence[ChunkRows]) -> ChunkRows:
    """Join rows in order, merging their pack tables."""
    packs: dict[bytes, int] = {}
    index = []
    for part in parts:
        table = np.array([packs.setdefault(pack, len(packs)) for pack in part.packs], dtype=np.uint16)
        index.append(table[part.pack_index] if len(part) else part.pack_index)
    if not parts:
        return empty_rows()
    return ChunkRows(
        blocks=np.concatenate([part.blocks for part in parts]),
        digests=np.concatenate([part.digests for part in parts]),
        packs=tuple(packs),
        pack_index=np.concatenate(index),
        offsets=np.concatenate([part.offsets for part in parts]),
        stored=np.concatenate([part.stored for part in parts]),
    )


def empty_rows() -> ChunkRows:
    """No rows."""
    none = np.empty(0, np.uint32)
    return ChunkRows(none, np.empty((0, DIGEST_BYTES), np.uint8), (), np.empty(0, np.uint16), none, none)

"""One example of each kind of batch, and the files that hold how it was first encoded.

    python -m tests.support.golden_batches

writes the files that do not exist. A file is never written again: other columns are a new schema number.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from catalog.batches import SCHEMA_ID, Extents, encode_chunks, encode_extents, encode_zeros
from storage.chunks.rows import ChunkRows, ZeroRuns

FOLDER = Path(__file__).resolve().parents[1] / "golden" / "batches"

CHUNKS = ChunkRows(
    blocks=np.array([5, 6, 90, 4_294_967_295], np.uint32),
    digests=np.arange(128, dtype=np.uint8).reshape(4, 32),
    packs=(bytes(range(16)), bytes(range(16, 32))),
    pack_index=np.array([0, 0, 1, 0], np.uint16),
    offsets=np.array([64, 70_064, 64, 4_294_967_295], np.uint32),
    stored=np.array([70_000, 1, 262_160, 4_294_967_295], np.uint32),
)
ZEROS = ZeroRuns(starts=np.array([1, 4_294_967_290], np.uint32), counts=np.array([3, 6], np.uint32))
EXTENTS = Extents(
    starts=np.array([0, 512, 1 << 40], np.uint64),
    lengths=np.array([512, 65_536, 1 << 40], np.uint64),
    zeros=np.array([False, True, False]),
)


def golden_batch(name: str) -> Path:
    """Where the encoded rows of one kind are kept."""
    return FOLDER / f"{name}-{SCHEMA_ID}.arrow"


def write_missing() -> None:
    """Write the golden files that do not exist."""
    examples = {"chunks": encode_chunks(CHUNKS), "zeros": encode_zeros(ZEROS), "extents": encode_extents(*EXTENTS)}
    for name, batch in examples.items():
        if not golden_batch(name).exists():
            golden_batch(name).write_bytes(batch)


if __name__ == "__main__":
    write_missing()

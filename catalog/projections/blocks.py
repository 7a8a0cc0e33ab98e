"""Rows of `chunks` and `extents`, in bulk. Pure: one batch of a sealed point in, Arrow rows out."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from catalog.batches import decode_chunks, decode_extents, decode_zeros
from catalog.domain import ids
from catalog.domain.events import Batch, ChunksRecorded, ExtentsRecorded
from catalog.domain.facts import DiskPoint
from storage.chunks.rows import DIGEST_BYTES

KINDS = pa.array(["reported_data", "reported_zero", "stored_zero"])
STORED_ZERO = 2


def rows_of(point: DiskPoint, batch: Batch) -> tuple[str, pa.RecordBatch]:
    """The table a batch belongs to, and its rows there. Raises Corrupt when the batch does not decode."""
    if isinstance(batch, ChunksRecorded):
        return "chunks", _chunks(point, batch.batch)
    if isinstance(batch, ExtentsRecorded):
        extents = decode_extents(batch.batch)
        return "extents", _extents(point, extents.starts, extents.lengths, extents.zeros.astype(np.int8))
    runs = decode_zeros(batch.batch)
    starts = runs.starts.astype(np.int64) * point.chunk_bytes
    ends = np.minimum(starts + runs.counts.astype(np.int64) * point.chunk_bytes, point.size_bytes)
    return "extents", _extents(point, starts, ends - starts, np.full(len(runs), STORED_ZERO, np.int8))


def _chunks(point: DiskPoint, encoded: bytes) -> pa.RecordBatch:
    rows = decode_chunks(encoded)
    names = pa.array([pack.hex() for pack in rows.packs], pa.string())
    digests = pa.py_buffer(np.ascontiguousarray(rows.digests))
    columns = {
        **_common(point, len(rows)),
        "block": pa.array(rows.blocks.astype(np.int64)),
        "digest": pa.FixedSizeBinaryArray.from_buffers(pa.binary(DIGEST_BYTES), len(rows), [None, digests]),
        "pack_id": names.take(pa.array(rows.pack_index)),
        "pack_offset": pa.array(rows.offsets.astype(np.int64)),
        "stored_bytes": pa.array(rows.stored.astype(np.int64)),
    }
    return pa.RecordBatch.from_pydict(columns)


def _extents(
    point: DiskPoint, starts: NDArray[np.integer], lengths: NDArray[np.integer], kinds: NDArray[np.int8]
) -> pa.RecordBatch:
    columns = {
        **_common(point, len(starts)),
        "start_bytes": pa.array(starts.astype(np.int64)),
        "length_bytes": pa.array(lengths.astype(np.int64)),
        "kind": KINDS.take(pa.array(kinds)),
    }
    return pa.RecordBatch.from_pydict(columns)


def _common(point: DiskPoint, rows: int) -> dict[str, pa.Array]:
    return {
        "part": pa.repeat(pa.scalar(ids.part_of(point.disk_id), pa.int32()), rows),
        "disk_id": pa.repeat(str(point.disk_id), rows),
        "seq": pa.repeat(pa.scalar(point.seq, pa.int64()), rows),
    }

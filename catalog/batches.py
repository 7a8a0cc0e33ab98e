"""Rows in bulk as Arrow IPC streams of one record batch, and back, validated.

Imports `catalog.domain`, `storage.chunks.rows` and `storage.errors` of ours. Block numbers and offsets are
written as differences, which the log's zstd reduces to almost nothing; digests stay as they are. What
decodes is in range and in order, or it is Corrupt.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from catalog.domain.events import Batch
from storage.chunks.rows import DIGEST_BYTES, PACK_ID_BYTES, ChunkRows, ZeroRuns
from storage.errors import Corrupt, Invalid

SCHEMA_ID = 1
MAX_ROWS = 131_072
MAX_PACKS = 65_536
BLOCK_LIMIT = 2**32
BYTE_LIMIT = 2**63


def _schema(**columns: Any) -> Any:
    return pa.schema([pa.field(name, kind, nullable=False) for name, kind in columns.items()])


CHUNKS = _schema(
    block_step=pa.uint32(),
    digest=pa.binary(DIGEST_BYTES),
    pack=pa.dictionary(pa.uint16(), pa.binary(PACK_ID_BYTES)),
    offset_gap=pa.uint32(),
    stored=pa.uint32(),
)
ZEROS = _schema(start=pa.uint32(), count=pa.uint32())
EXTENTS = _schema(start=pa.uint64(), length=pa.uint64(), zero=pa.bool_())


class Extents(NamedTuple):
    """n extents in bytes: starts u64[n] ascending and not overlapping, lengths u64[n] above 0, zeros bool[n]."""

    starts: NDArray[np.uint64]
    lengths: NDArray[np.uint64]
    zeros: NDArray[np.bool_]


def encode_chunks(rows: ChunkRows) -> bytes:
    """One batch of chunk rows, 46 bytes a row before compression; Invalid when a reader would refuse it."""
    _refuse(_chunk_problem(rows))
    packs = pa.array(rows.packs, pa.binary(PACK_ID_BYTES))
    columns = [
        pa.array(np.diff(rows.blocks, prepend=np.uint32(0))),
        _digest_array(rows.digests),
        pa.DictionaryArray.from_arrays(pa.array(rows.pack_index), packs, safe=False),
        pa.array(rows.offsets - _ends_before(rows.offsets, rows.stored)),
        pa.array(rows.stored),
    ]
    return _write(CHUNKS, columns)


def decode_chunks(batch: bytes) -> ChunkRows:
    """Read what `encode_chunks` wrote; the digests are a view of `batch`. Corrupt(batch-...) otherwise."""
    table = _read(CHUNKS, batch)
    stored = table.column(4).to_numpy()
    rows = ChunkRows(
        # A sum beyond 32 bits wraps to a smaller block, and blocks that do not ascend are refused below.
        blocks=np.cumsum(table.column(0).to_numpy(), dtype=np.uint32),
        digests=_digests(table.column(1)),
        packs=tuple(table.column(2).dictionary.to_pylist()),
        pack_index=table.column(2).indices.to_numpy(),
        offsets=_offsets(table.column(3).to_numpy(), stored),
        stored=stored,
    )
    _distrust(_chunk_problem(rows))
    return rows


def encode_zeros(runs: ZeroRuns) -> bytes:
    """One batch of zero runs; Invalid when a reader would refuse it."""
    _refuse(_zero_problem(runs))
    return _write(ZEROS, [pa.array(runs.starts), pa.array(runs.counts)])


def decode_zeros(batch: bytes) -> ZeroRuns:
    """Read what `encode_zeros` wrote; Corrupt(batch-...) otherwise."""
    table = _read(ZEROS, batch)
    runs = ZeroRuns(table.column(0).to_numpy(), table.column(1).to_numpy())
    _distrust(_zero_problem(runs))
    return runs


def encode_extents(starts: NDArray[np.uint64], lengths: NDArray[np.uint64], zeros: NDArray[np.bool_]) -> bytes:
    """One batch of extents, in the terms of `Extents`; Invalid when a reader would refuse it."""
    _refuse(_extent_problem(Extents(starts, lengths, zeros)))
    return _write(EXTENTS, [pa.array(starts), pa.array(lengths), pa.array(zeros)])


def decode_extents(batch: bytes) -> Extents:
    """Read what `encode_extents` wrote; Corrupt(batch-...) otherwise."""
    table = _read(EXTENTS, batch)
    extents = Extents(
        table.column(0).to_numpy(), table.column(1).to_numpy(), table.column(2).to_numpy(zero_copy_only=False)
    )
    _distrust(_extent_problem(extents))
    return extents


def batch_leaf(event: Batch) -> bytes:
    """The leaf of a batch in its disk point's Merkle tree.

    SHA-256 over 0x00 and, each behind its length as 8 bytes, big-endian: event name, run id, disk id, the
    numbers seq, schema_id, rows, first and last as text with spaces between them, and the batch.
    """
    numbers = f"{event.seq} {event.schema_id} {event.rows} {event.first} {event.last}"
    leaf = sha256(b"\x00")
    for field in (
        type(event).__name__.encode(),
        event.run_id.bytes,
        event.disk_id.bytes,
        numbers.encode(),
        event.batch,
    ):
        leaf.update(len(field).to_bytes(8, "big"))
        leaf.update(field)
    return leaf.digest()


def _write(schema: Any, columns: list[Any]) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=schema))
    return bytes(sink.getvalue())


def _read(schema: Any, batch: bytes) -> Any:
    try:
        with pa.ipc.open_stream(pa.py_buffer(batch)) as reader:
            if not reader.schema.equals(schema):
                raise _corrupt("batch-schema", f"it holds {reader.schema.to_string()}")
            table, *more = reader
            table.validate()
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        raise _corrupt("batch-unreadable", str(error)) from error
    if more or table.num_rows > MAX_ROWS:
        raise _corrupt("batch-rows", f"{1 + len(more)} record batches, the first of {table.num_rows} rows")
    if any(column.null_count for column in table.columns):
        raise _corrupt("batch-nulls", "values are missing")
    return table


def _digest_array(digests: NDArray[np.uint8]) -> Any:
    data = pa.py_buffer(np.ascontiguousarray(digests))
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(DIGEST_BYTES), len(digests), [None, data])


def _digests(column: Any) -> NDArray[np.uint8]:
    data = np.frombuffer(column.buffers()[1], np.uint8) if len(column) else np.empty(0, np.uint8)
    first = column.offset * DIGEST_BYTES
    return data[first : first + len(column) * DIGEST_BYTES].reshape(-1, DIGEST_BYTES)


def _ends_before(offsets: NDArray[np.uint32], stored: NDArray[np.uint32]) -> NDArray[np.uint32]:
    ends = np.zeros_like(offsets)
    np.add(offsets[:-1], stored[:-1], out=ends[1:])
    return ends


def _offsets(gaps: NDArray[np.uint32], stored: NDArray[np.uint32]) -> NDArray[np.uint32]:
    steps = gaps.copy()
    steps[1:] += stored[:-1]
    return np.cumsum(steps, dtype=np.uint32)


Problem = tuple[str, str] | None


def _chunk_problem(rows: ChunkRows) -> Problem:
    count = len(rows)
    lengths = {len(rows.pack_index), len(rows.offsets), len(rows.stored)}
    if lengths != {count} or rows.digests.shape != (count, DIGEST_BYTES):
        return "batch-lengths", "columns differ in length"
    if count > MAX_ROWS or len(rows.packs) > MAX_PACKS:
        return "batch-rows", f"{count} rows in {len(rows.packs)} packs are too many"
    if any(not isinstance(pack, bytes) or len(pack) != PACK_ID_BYTES for pack in rows.packs):
        return "batch-packs", f"a pack id is not {PACK_ID_BYTES} bytes"
    if (rows.pack_index >= len(rows.packs)).any():
        return "batch-packs", "a row names a pack that is not listed"
    if (rows.blocks[1:] <= rows.blocks[:-1]).any() or (rows.stored == 0).any():
        return "batch-blocks", "blocks do not ascend, or a record has no bytes"
    return None


def _zero_problem(runs: ZeroRuns) -> Problem:
    if len(runs.counts) != len(runs):
        return "batch-lengths", "columns differ in length"
    if len(runs) > MAX_ROWS:
        return "batch-rows", f"{len(runs)} rows are too many"
    ends = runs.starts.astype(np.uint64) + runs.counts
    if (runs.counts == 0).any() or (ends[:-1] >= runs.starts[1:]).any() or (ends > BLOCK_LIMIT).any():
        return "batch-blocks", "runs are empty, touch, or are out of order"
    return None


def _extent_problem(extents: Extents) -> Problem:
    starts, lengths, zeros = extents
    if not len(starts) == len(lengths) == len(zeros):
        return "batch-lengths", "columns differ in length"
    if len(starts) > MAX_ROWS:
        return "batch-rows", f"{len(starts)} rows are too many"
    if (starts >= BYTE_LIMIT).any() or (lengths > BYTE_LIMIT).any() or (lengths == 0).any():
        return "batch-extents", "an extent is empty or beyond the largest disk"
    if (starts[:-1] + lengths[:-1] > starts[1:]).any():
        return "batch-extents", "extents overlap or are out of order"
    return None


def _refuse(problem: Problem) -> None:
    if problem:
        raise Invalid("the rows cannot be recorded", code=problem[0], why=problem[1])


def _distrust(problem: Problem) -> None:
    if problem:
        raise _corrupt(*problem)


def _corrupt(code: str, why: str) -> Corrupt:
    return Corrupt("a recorded batch does not verify", code=code, why=why)

"""Rows to Arrow and back."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from catalog.batches import (
    CHUNKS,
    MAX_ROWS,
    ZEROS,
    batch_leaf,
    decode_chunks,
    decode_extents,
    decode_zeros,
    encode_chunks,
    encode_extents,
    encode_zeros,
)
from storage.chunks.rows import ChunkRows, ZeroRuns, empty_rows
from storage.errors import Corrupt, Invalid
from tests.support import golden_batches as golden
from tests.support.log_events import chunk_events, chunk_rows

U32 = st.integers(0, 2**32 - 1)


def _equal(one: ChunkRows, other: ChunkRows) -> bool:
    columns = ("blocks", "digests", "pack_index", "offsets", "stored")
    pairs = [(getattr(one, name), getattr(other, name)) for name in columns]
    return one.packs == other.packs and all(a.dtype == b.dtype and np.array_equal(a, b) for a, b in pairs)


@st.composite
def _chunk_rows(draw: st.DrawFn) -> ChunkRows:
    blocks = np.array(sorted(draw(st.sets(U32, max_size=40))), np.uint32)
    packs = draw(st.lists(st.binary(min_size=16, max_size=16), min_size=1, max_size=5))
    count = len(blocks)
    return ChunkRows(
        blocks=blocks,
        digests=draw(hnp.arrays(np.uint8, (count, 32))),
        packs=tuple(packs),
        pack_index=draw(hnp.arrays(np.uint16, count, elements=st.integers(0, len(packs) - 1))),
        offsets=draw(hnp.arrays(np.uint32, count, elements=U32)),
        stored=draw(hnp.arrays(np.uint32, count, elements=st.integers(1, 2**32 - 1))),
    )


@given(_chunk_rows())
def test_chunk_rows_come_back(rows: ChunkRows) -> None:
    """Any chunk rows come back equal, types included."""
    assert _equal(decode_chunks(encode_chunks(rows)), rows)


@given(st.lists(st.tuples(st.integers(1, 2**25), st.integers(1, 2**25)), max_size=40))
def test_zero_runs_come_back(gaps_and_counts: list[tuple[int, int]]) -> None:
    """Any runs that ascend and do not touch come back equal."""
    table = np.array(gaps_and_counts, np.int64).reshape(-1, 2)
    ends = table.sum(axis=1).cumsum()
    runs = ZeroRuns((ends - table[:, 1]).astype(np.uint32), table[:, 1].astype(np.uint32))
    decoded = decode_zeros(encode_zeros(runs))
    assert np.array_equal(decoded.starts, runs.starts)
    assert np.array_equal(decoded.counts, runs.counts)


@given(st.lists(st.tuples(st.integers(0, 2**50), st.integers(1, 2**50), st.booleans()), max_size=40))
def test_extents_come_back(extents: list[tuple[int, int, bool]]) -> None:
    """Any extents that ascend and do not overlap come back equal; touching ones too."""
    lengths = np.array([length for _, length, _ in extents], np.uint64)
    ends = np.array([gap + length for gap, length, _ in extents], np.uint64).cumsum(dtype=np.uint64)
    zeros = np.array([zero for *_, zero in extents], np.bool_)
    decoded = decode_extents(encode_extents(ends - lengths, lengths, zeros))
    assert [column.dtype for column in decoded] == [np.uint64, np.uint64, np.bool_]
    assert all(np.array_equal(a, b) for a, b in zip(decoded, (ends - lengths, lengths, zeros), strict=True))


def test_no_rows_come_back() -> None:
    """An empty batch is a batch."""
    assert len(decode_chunks(encode_chunks(empty_rows()))) == 0


def test_golden_batches_decode() -> None:
    """The batches that were encoded first decode to the same rows for ever."""
    assert _equal(decode_chunks(golden.golden_batch("chunks").read_bytes()), golden.CHUNKS)
    zeros = decode_zeros(golden.golden_batch("zeros").read_bytes())
    assert np.array_equal(zeros.starts, golden.ZEROS.starts)
    assert np.array_equal(zeros.counts, golden.ZEROS.counts)
    extents = decode_extents(golden.golden_batch("extents").read_bytes())
    assert all(np.array_equal(a, b) for a, b in zip(extents, golden.EXTENTS, strict=True))


def test_chunk_rows_are_small() -> None:
    """10,000 rows with random digests take at most 40 bytes a row once compressed, 32 of them the digest."""
    compressed = zstandard.ZstdCompressor(level=1).compress(encode_chunks(chunk_rows(10_000)))
    assert len(compressed) <= 40 * 10_000


GOOD = chunk_rows(3)
BAD_CHUNKS: dict[str, tuple[dict[str, Any], str]] = {
    "descending": ({"blocks": np.array([3, 2, 4], np.uint32)}, "batch-blocks"),
    "repeated": ({"blocks": np.array([2, 2, 4], np.uint32)}, "batch-blocks"),
    "no bytes": ({"stored": np.array([1, 0, 1], np.uint32)}, "batch-blocks"),
    "unknown pack": ({"pack_index": np.array([0, 0, 1], np.uint16)}, "batch-packs"),
    "no packs": ({"packs": ()}, "batch-packs"),
    "short pack": ({"packs": (b"short",)}, "batch-packs"),
    "short column": ({"offsets": np.zeros(2, np.uint32)}, "batch-lengths"),
    "narrow digest": ({"digests": np.zeros((3, 31), np.uint8)}, "batch-lengths"),
}


@pytest.mark.parametrize("name", BAD_CHUNKS)
def test_bad_chunk_rows_are_not_encoded(name: str) -> None:
    """What a reader would refuse is refused by the writer."""
    change, code = BAD_CHUNKS[name]
    with pytest.raises(Invalid) as caught:
        encode_chunks(replace(GOOD, **change))
    assert caught.value.code == code


@pytest.mark.parametrize("runs", [([4, 2], [1, 1]), ([2, 4], [2, 1]), ([2, 4], [3, 1]), ([2], [0]), ([2**32 - 1], [2])])
def test_bad_zero_runs_are_not_encoded(runs: tuple[list[int], list[int]]) -> None:
    """Runs that are empty, touch, overlap, descend or pass the last block are refused."""
    with pytest.raises(Invalid) as caught:
        encode_zeros(ZeroRuns(*(np.array(column, np.uint32) for column in runs)))
    assert caught.value.code == "batch-blocks"


@pytest.mark.parametrize(
    "extents",
    [([4, 2], [1, 1]), ([2, 4], [3, 1]), ([2], [0]), ([2**63], [1]), ([0], [2**63 + 1]), ([0, 1], [2**64 - 1, 1])],
)
def test_bad_extents_are_not_encoded(extents: tuple[list[int], list[int]]) -> None:
    """Extents that are empty, overlap, descend or pass the largest disk are refused."""
    starts, lengths = (np.array(column, np.uint64) for column in extents)
    with pytest.raises(Invalid) as caught:
        encode_extents(starts, lengths, np.zeros(len(starts), np.bool_))
    assert caught.value.code == "batch-extents"


def test_batches_have_a_largest_size() -> None:
    """More rows than a batch may have are refused, and so is a column of another length."""
    many = np.arange(0, 2 * MAX_ROWS + 2, 2, dtype=np.uint64)
    ones = np.ones(len(many), np.uint64)
    for starts, lengths, code in ((many, ones, "batch-rows"), (many[:3], ones[:2], "batch-lengths")):
        with pytest.raises(Invalid) as caught:
            encode_extents(starts, lengths, np.zeros(len(starts), np.bool_))
        assert caught.value.code == code
        with pytest.raises(Invalid) as caught:
            encode_zeros(ZeroRuns(starts.astype(np.uint32), lengths.astype(np.uint32)))
        assert caught.value.code == code


def _ipc(schema: Any, *batches: list[Any]) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        for columns in batches:
            writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=schema))
    return bytes(sink.getvalue())


def _chunk_columns(steps: list[int | None], indices: list[int], packs: list[bytes | None]) -> list[Any]:
    count = len(steps)
    return [
        pa.array(steps, pa.uint32()),
        pa.array([bytes(32)] * count, pa.binary(32)),
        pa.DictionaryArray.from_arrays(pa.array(indices, pa.uint16()), pa.array(packs, pa.binary(16)), safe=False),
        pa.array([0] * count, pa.uint32()),
        pa.array([1] * count, pa.uint32()),
    ]


PACK = bytes(16)
FORGED = {
    "pack out of range": (_ipc(CHUNKS, _chunk_columns([1, 1], [0, 1], [PACK])), "batch-packs"),
    "pack missing": (_ipc(CHUNKS, _chunk_columns([1, 1], [0, 1], [PACK, None])), "batch-packs"),
    "blocks overflow": (_ipc(CHUNKS, _chunk_columns([2**32 - 1, 1], [0, 0], [PACK])), "batch-blocks"),
    "blocks wrap around": (_ipc(CHUNKS, _chunk_columns([2**32 - 1, 7], [0, 0], [PACK])), "batch-blocks"),
    "blocks repeat": (_ipc(CHUNKS, _chunk_columns([1, 0], [0, 0], [PACK])), "batch-blocks"),
    "two batches": (_ipc(CHUNKS, *[_chunk_columns([1], [0], [PACK])] * 2), "batch-rows"),
    "no batch": (_ipc(CHUNKS), "batch-unreadable"),
    "another schema": (_ipc(ZEROS, [pa.array([1], pa.uint32()), pa.array([1], pa.uint32())]), "batch-schema"),
    "nothing": (b"", "batch-unreadable"),
    "no Arrow": (b"\xff" * 100, "batch-unreadable"),
}


@pytest.mark.parametrize("name", FORGED)
def test_forged_batches_are_corrupt(name: str) -> None:
    """Bytes that are Arrow but not rows of ours, or no Arrow at all, are refused by name."""
    batch, code = FORGED[name]
    with pytest.raises(Corrupt) as caught:
        decode_chunks(batch)
    assert caught.value.code == code


def test_a_missing_value_is_corrupt() -> None:
    """A null where a number must be is not read as zero."""
    batch = _ipc(CHUNKS, _chunk_columns([1, None], [0, 0], [PACK]))
    with pytest.raises(Corrupt) as caught:
        decode_chunks(batch)
    assert caught.value.code == "batch-nulls"


@pytest.mark.parametrize("columns", ["chunks", "zeros", "extents"])
def test_a_flipped_bit_is_corrupt_or_rows_in_range(columns: str) -> None:
    """Whatever one bit does to a batch, it is refused or gives rows that keep the rules, and nothing else happens."""
    encode, decode = CODECS[columns]
    whole = golden.golden_batch(columns).read_bytes()
    for bit in range(len(whole) * 8):
        batch = bytearray(whole)
        batch[bit // 8] ^= 1 << bit % 8
        with suppress(Corrupt):
            encode(decode(bytes(batch)))


CODECS: dict[str, tuple[Callable[[Any], bytes], Callable[[bytes], Any]]] = {
    "chunks": (encode_chunks, decode_chunks),
    "zeros": (encode_zeros, decode_zeros),
    "extents": (lambda extents: encode_extents(*extents), decode_extents),
}


def test_a_cut_batch_is_corrupt() -> None:
    """A batch cut anywhere before its end marker is refused."""
    batch = encode_chunks(chunk_rows(5))
    for size in range(0, len(batch) - 8, 7):
        with pytest.raises(Corrupt):
            decode_chunks(batch[:size])


def test_a_leaf_covers_the_header_and_the_rows() -> None:
    """Each header field and the batch itself change the leaf; where the event is stored does not."""
    (event,) = chunk_events([chunk_rows(5)])
    assert batch_leaf(event) == batch_leaf(msgspec.structs.replace(event, originator_version=9))
    changes: list[dict[str, Any]] = [
        {"run_id": event.disk_id},
        {"disk_id": event.run_id},
        {"seq": 2},
        {"schema_id": 2},
        {"rows": 6},
        {"first": 1},
        {"last": 5},
        {"batch": event.batch + b"\0"},
    ]
    leaves = {batch_leaf(msgspec.structs.replace(event, **change)) for change in changes}
    assert len(leaves | {batch_leaf(event)}) == len(changes) + 1


def test_leaf_known_value() -> None:
    """The leaf of a golden batch stays the same for ever: Merkle roots of old points are made of such leaves."""
    (event,) = chunk_events([golden.CHUNKS])
    golden_bytes = golden.golden_batch("chunks").read_bytes()
    assert batch_leaf(msgspec.structs.replace(event, batch=golden_bytes)).hex() == (
        "00f5c3822949c7e6f8d6136367634808015ba9b204487ca946f8f2df68ee11c2"
    )

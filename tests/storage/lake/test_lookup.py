"""Keyed tables: a key finds exactly its rows, whatever files they are in, and damage never passes."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from storage.errors import Corrupt, HoldfastError, Invalid
from storage.lake import Column, Lake, TableSpec
from storage.lake.keys import in_key_order, key_texts
from storage.lake.merge import merged

REFS = TableSpec(
    name="refs",
    comment="Where things are",
    sort=("digest",),
    columns=(
        Column("digest", "blob", encoding="plain", fixed_bytes=32),
        Column("disk", "varchar", encoding="dictionary"),
        Column("block", "int64", encoding="delta"),
    ),
    keyed=True,
    group_rows=64,
)
Row = tuple[bytes, str, int]


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Lake]:
    """An empty lake with one keyed table."""
    with closing(Lake.create(tmp_path / "lake", [REFS])) as opened:
        yield opened


def some_rows(seed: int, count: int, keys: int) -> list[Row]:
    """Rows whose keys repeat, end in zero bytes at times, and differ at times in the last byte only."""
    random = np.random.default_rng(seed)
    tails = [bytes(24), bytes(23) + b"\1", b"\xff" * 24]
    picked = random.integers(0, keys, count).tolist()
    return [((key // 3).to_bytes(8, "big") + tails[key % 3], f"disk {row % 7}", row) for row, key in enumerate(picked)]


def add(lake: Lake, rows: Sequence[Row]) -> None:
    """Commit a file with these rows."""
    columns = list(zip(*rows, strict=True))
    table = pa.table([pa.array(values) for values in columns], names=["digest", "disk", "block"])
    position = lake.position()
    with lake.writer("refs", positions=(position + 1, position + 1)) as writer:
        writer.write(in_key_order(REFS, table.cast(REFS.arrow_schema)))
        file = writer.close()
    lake.commit([file], expected=position, position=position + 1)


def found(lake: Lake, key: bytes) -> list[Row]:
    """What a look-up gives, in an order of its own."""
    return sorted(tuple(row.values()) for batch in lake.find("refs", key) for row in batch.to_pylist())


def check_all(lake: Lake, rows: Sequence[Row]) -> None:
    """Every key that is there, and some that are not, find exactly their rows."""
    absent = [bytes(32), b"\xff" * 32, (1).to_bytes(8, "big") + b"\7" * 24]
    for key in {row[0] for row in rows} | set(absent):
        assert found(lake, key) == sorted(row for row in rows if row[0] == key)


def test_a_key_finds_its_rows_before_and_after_compaction(lake: Lake) -> None:
    """Look-ups equal a scan of everything, with keys that fill several row groups and across many files."""
    assert found(lake, bytes(32)) == []
    rows: list[Row] = []
    for seed, (count, keys) in enumerate([(1, 1), (500, 3), (300, 90), (64, 64), (700, 200)]):
        fresh = some_rows(seed, count, keys)
        add(lake, fresh)
        rows += fresh
        check_all(lake, rows)
    report = lake.compact("refs", min_files=2)
    assert (report.replaced, report.written, report.rows) == (5, 1, len(rows))
    check_all(lake, rows)
    add(lake, some_rows(9, 10, 10))
    check_all(lake, rows + some_rows(9, 10, 10))


@pytest.mark.parametrize("buffer_rows", [1, 100, 1_000_000])
def test_merging_is_in_order_whatever_is_kept_in_memory(lake: Lake, buffer_rows: int) -> None:
    """The merge yields every row once and in key order, also when it may hold one row group a file only."""
    rows = [row for seed in range(4) for row in some_rows(seed, 400, 30)]
    for seed in range(4):
        add(lake, some_rows(seed, 400, 30))
    pieces = list(merged(REFS, lake.plan("refs"), buffer_rows))
    keys = np.concatenate([key_texts(piece.column("digest")) for piece in pieces])
    assert bool((keys[1:] >= keys[:-1]).all())
    assert sorted(tuple(row.values()) for piece in pieces for row in piece.to_pylist()) == sorted(rows)
    assert (len(pieces) > 1) == (buffer_rows < len(rows))


def test_columns_are_chosen_and_keys_checked(lake: Lake) -> None:
    """Only the asked columns come; what cannot be a key is the caller's mistake."""
    add(lake, some_rows(1, 100, 1))
    batches = list(lake.find("refs", bytes(32), ["block"]))
    assert [batch.schema.names for batch in batches] == [["block"]] * 2
    assert sum(batch.num_rows for batch in batches) == 100
    with pytest.raises(Invalid):
        lake.find("refs", b"short")
    with pytest.raises(Invalid):
        lake.find("refs", bytes(32), ["nothing"])
    with pytest.raises(Invalid):
        lake.find("nothing", bytes(32))


def test_a_changed_byte_is_found_before_a_row_is_returned(lake: Lake) -> None:
    """A look-up that meets a damaged row group is Corrupt, and others keep answering."""
    rows = some_rows(3, 640, 640)
    add(lake, rows)
    keys = sorted(row[0] for row in rows)
    (file,) = lake.plan("refs")
    content = bytearray(file.path.read_bytes())
    content[content.index(keys[5]) + 31] ^= 1
    file.path.write_bytes(bytes(content))
    with pytest.raises(Corrupt):
        found(lake, keys[5])
    assert found(lake, keys[-1])


def test_look_ups_go_on_while_files_are_merged_and_removed(lake: Lake) -> None:
    """Threads that look up during compaction and clean-up see every row at every moment."""
    rows = some_rows(1, 300, 40)
    add(lake, rows)
    problems: list[Exception] = []
    done = threading.Event()

    def ask(key: bytes) -> None:
        try:
            wanted = sum(row[0] == key for row in rows)
            while not done.is_set():
                assert len(found(lake, key)) >= wanted
        except (HoldfastError, AssertionError) as error:
            problems.append(error)

    threads = [threading.Thread(target=ask, args=(key,)) for key in sorted({row[0] for row in rows})[:3]]
    for thread in threads:
        thread.start()
    for seed in range(12):
        add(lake, some_rows(seed, 200, 40))
        lake.compact("refs", min_files=2)
    done.set()
    for thread in threads:
        thread.join()
    assert problems == []


@pytest.mark.parametrize("width", [4, 8, 16, 32])
def test_the_order_is_that_of_the_bytes(width: int) -> None:
    """Keys of any length are ordered as bytes compare, equal keys as they came."""
    spec = TableSpec(
        "t", (Column("k", "blob", encoding="plain", fixed_bytes=width), Column("n", "int64")), sort=("k",), keyed=True
    )
    random = np.random.default_rng(width)
    keys = [bytes(random.choice([0, 1, 128, 255], width).astype(np.uint8).tolist()) for _ in range(500)]
    keys += keys[:100]
    table = pa.table({"k": pa.array(keys, pa.binary(width)), "n": pa.array(range(600), pa.int64())})
    ordered = in_key_order(spec, table)
    assert list(zip(*ordered.to_pydict().values(), strict=True)) == sorted(zip(keys, range(600), strict=True))


def test_a_position_is_reached_without_asking_each_time(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows up to the position are always there; the catalog is asked only when the plan may be too old for it."""
    asked: list[int] = []
    head = lake.catalog.head
    monkeypatch.setattr(lake.catalog, "head", lambda: asked.append(1) or head())
    key = bytes(range(32))
    for position in range(1, 5):
        add(lake, [(key, "disk 1", position)])
        asked.clear()
        for _ in range(3):
            assert sum(batch.num_rows for batch in lake.find("refs", key, position=position)) == position
        assert len(asked) == 1

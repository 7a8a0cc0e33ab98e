"""One Parquet file of a table."""

from __future__ import annotations

import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from storage.errors import Invalid, Limit
from storage.lake import Lake
from storage.lake.parquet import DataFile
from storage.lake.tables import ROW_GROUP_ROWS
from tests.support.lake import blocks, data_files, notes


def many(rows: int) -> pa.Table:
    """Rows of BLOCKS, made fast."""
    digests = np.random.default_rng(1).bytes(32 * rows)
    return pa.table(
        {
            "part": np.full(rows, 3, np.int32),
            "disk": pa.array(["disk-a"] * rows),
            "seq": np.ones(rows, np.int64),
            "block": np.arange(rows, dtype=np.int64),
            "digest": pa.FixedSizeBinaryArray.from_buffers(pa.binary(32), rows, [None, pa.py_buffer(digests)]),
            "stored": np.arange(rows, dtype=np.uint32),
        }
    )


def write(lake: Lake, table: str, part: int | None, rows: pa.Table) -> DataFile:
    """Write one file and close it."""
    with lake.writer(table, part) as writer:
        writer.write(rows)
        return writer.close()


def test_files_have_the_encodings_that_were_told(lake: Lake, root: Path) -> None:
    """Digests are plain and uncompressed, numbers delta, dictionaries only where told, field ids are column ids."""
    with lake.writer("blocks", 3, positions=(7, 9)) as writer:
        writer.write(many(5000))
        file = writer.close()
    path = root / "data" / "main" / "blocks" / file.path
    group = pq.read_metadata(path).row_group(0)
    found = {c.path_in_schema: (c.compression, set(c.encodings)) for c in map(group.column, range(6))}
    assert found["digest"] == ("UNCOMPRESSED", {"PLAIN", "RLE"})
    assert found["block"] == ("ZSTD", {"DELTA_BINARY_PACKED", "RLE"})
    assert found["disk"] == ("ZSTD", {"PLAIN", "RLE", "RLE_DICTIONARY"})
    schema = pq.read_schema(path)
    ids = {field.name: int(field.metadata[b"PARQUET:field_id"]) for field in schema}
    assert ids == lake.catalog.ids["blocks"].columns
    assert file.path.startswith("part=3/000000000007-000000000009-")
    assert (file.rows, file.size_bytes) == (5000, path.stat().st_size)
    assert file.footer_bytes == int.from_bytes(path.read_bytes()[-8:-4], "little")


def test_row_groups_are_full_however_rows_come(lake: Lake, root: Path) -> None:
    """Rows that come in odd pieces are written in row groups of one size."""
    rows = many(2 * ROW_GROUP_ROWS + 10)
    with lake.writer("blocks", 3) as writer:
        for begin in range(0, rows.num_rows, 70_001):
            writer.write(rows.slice(begin, 70_001))
        file = writer.close()
    footer = pq.read_metadata(root / "data" / "main" / "blocks" / file.path)
    assert [footer.row_group(g).num_rows for g in range(3)] == [ROW_GROUP_ROWS, ROW_GROUP_ROWS, 10]
    lake.commit([file], expected=0, position=1)
    assert pa.Table.from_batches(lake.read("blocks")).equals(
        rows.cast(pa.Table.from_batches(lake.read("blocks")).schema)
    )


def test_statistics_are_the_catalogs_text(lake: Lake) -> None:
    """Bounds are written as DuckLake wants them, unsigned integers past 63 bits and times included."""
    with lake.writer("notes") as writer:
        writer.write(notes(2, range(6)))
        stats = {s.column: (s.lo, s.hi, s.values, s.nulls) for s in writer.close().stats}
    assert stats == {
        "id": ("0", str(2**64 - 2), 6, 0),
        "seq": ("2", "2", 6, 0),
        "disk": ("dïsk 001", "dïsk 005", 4, 2),
        "seen_at": ("2026-01-03 00:00:00.000001+00", "2026-01-03 00:00:00.000005+00", 4, 2),
        "good": ("0", "1", 4, 2),
    }


@pytest.mark.parametrize("text", ["a\0b", "x" * 600, "y" * 5000])
def test_awkward_text_has_no_bounds_but_is_found(lake: Lake, text: str) -> None:
    """Text that catalogs cannot hold well gets no bounds, and then prunes nothing."""
    rows = notes(1, [1]).set_column(2, "disk", pa.array([text]))
    with lake.writer("notes") as writer:
        writer.write(rows)
        file = writer.close()
    assert {(s.lo, s.hi) for s in file.stats if s.column == "disk"} == {(None, None)}
    lake.commit([file], expected=0, position=1)
    assert lake.plan("notes", where={"disk": ("z", None)})
    assert [b.num_rows for b in lake.read("notes", where={"disk": (text, text)})] == [1]


def test_rows_of_another_shape_are_refused(lake: Lake, root: Path) -> None:
    """A missing column, a value that does not fit and a null where none may be leave no file behind."""
    good = notes(1, [1])
    wrong = [
        good.drop_columns(["disk"]),
        good.set_column(1, "seq", pa.array([2**40])),
        good.set_column(1, "seq", pa.array([None], pa.int32())),
        good.set_column(2, "disk", pa.array([b"\xff"])),
    ]
    for rows in wrong:
        with pytest.raises(Invalid) as error:
            write(lake, "notes", None, rows)
        assert error.value.code == "bad-rows"
    assert not data_files(root)


def test_a_file_holds_one_part_and_some_rows(lake: Lake, root: Path) -> None:
    """Rows of another part, a part where none belongs, and an empty file are refused, and leave nothing."""
    with pytest.raises(Invalid, match="parts"):
        write(lake, "blocks", 4, blocks(3, "disk-a", 1, [1]))
    with pytest.raises(Invalid, match="without rows"), lake.writer("notes") as writer:
        writer.close()
    for table, part in (("blocks", None), ("notes", 1)):
        with pytest.raises(Invalid, match="part"):
            lake.writer(table, part)
    assert not data_files(root)


def test_an_abandoned_file_is_gone(lake: Lake, root: Path) -> None:
    """Leaving the writer's context without closing removes what was written."""
    with lake.writer("blocks", 3) as writer:
        writer.write(many(ROW_GROUP_ROWS))
        assert len(data_files(root)) == 1
    assert not data_files(root)


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """Let no file of this process grow past `size`: what a full disk looks like to a writer."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_is_a_limit_and_leaves_nothing(lake: Lake, root: Path) -> None:
    """When the file cannot grow the writer says so and removes its part."""
    rows = many(ROW_GROUP_ROWS)
    with file_size_limit(1 << 20), pytest.raises(Limit) as error, lake.writer("blocks", 3) as writer:
        writer.write(rows)
    assert error.value.code == "no-space"
    assert not data_files(root)

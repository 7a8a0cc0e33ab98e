"""Fixed-length values taken as they lie in a file are those that decoding gives, or are not taken at all."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from storage.errors import Corrupt
from storage.lake import Lake
from storage.lake.read import SealedFile
from tests.support.lake import add, blocks

DIGEST, SEQ, DISK = 4, 2, 1


@pytest.fixture
def sealed(lake: Lake) -> SealedFile:
    """A file with a digest column, plain and uncompressed, beside others that are not."""
    add(lake, 1, ("blocks", 1, blocks(1, "a", 1, range(5_000))))
    return SealedFile(lake.plan("blocks")[0])


def test_they_are_what_decoding_gives(sealed: SealedFile) -> None:
    """Every value of every row group, byte for byte."""
    for group in range(sealed.metadata.num_row_groups):
        decoded = b"".join(sealed.read_group(group, ["digest"]).column(0).to_pylist())
        assert sealed.plain_values(group, DIGEST, 32) == decoded


def test_columns_that_lie_otherwise_are_not_taken(sealed: SealedFile) -> None:
    """Compressed, delta-encoded and dictionary columns, and a wrong width, give nothing."""
    for column, width in ((SEQ, 8), (DISK, 1), (DIGEST, 31), (DIGEST, 33)):
        assert sealed.plain_values(0, column, width) is None


def test_what_was_altered_is_not_taken(sealed: SealedFile, root: Path) -> None:
    """A flipped bit anywhere in the row group is found before a value is returned."""
    path = sealed.file.path
    data = bytearray(path.read_bytes())
    begin = sealed.metadata.row_group(0).column(DIGEST).data_page_offset
    data[begin + 1000] ^= 1
    path.chmod(0o600)
    path.write_bytes(data)
    with pytest.raises(Corrupt):
        SealedFile(sealed.file).plain_values(0, DIGEST, 32)


def test_several_pages_are_not_taken_for_one(tmp_path: Path, sealed: SealedFile) -> None:
    """Where a second page's header stands between the values, the first of them is not the least."""
    values = [number.to_bytes(32, "big") for number in range(10_000)]
    table = pa.table({"key": pa.array(values, pa.binary(32))})
    path = tmp_path / "pages.parquet"
    pq.write_table(table, path, compression="none", use_dictionary=False, data_page_size=64 * 1024)
    facts = pq.ParquetFile(path).metadata.row_group(0).column(0)
    assert facts.total_compressed_size > 10_000 * 32 + 2 * 20
    end = facts.data_page_offset + facts.total_compressed_size
    assert path.read_bytes()[end - 10_000 * 32 : end][:32] != facts.statistics.min

"""Rows as bytes in each form: nothing is lost, and the end says whether it is one."""

from __future__ import annotations

import csv
import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from catalog.answers import AnswerFormat, encode

TABLE = pa.table({"number": [1, 2, 3], "digest": [b"\x00\xff", None, b"z"]})


def written(form: AnswerFormat, *, rows: int = 3, truncated: bool = False) -> bytes:
    """Some rows, in batches of two."""
    batches = TABLE.slice(0, rows).to_batches(max_chunksize=2)
    return b"".join(encode(form, TABLE.schema, batches, truncated=lambda: truncated))


@pytest.mark.parametrize("truncated", [False, True])
@pytest.mark.parametrize("rows", [0, 3])
def test_text_ends_with_rows_and_whether_there_are_more(rows: int, truncated: bool) -> None:
    """JSON has it behind the rows, NDJSON in its last line."""
    end = {"row_count": rows, "truncated": truncated}
    found = json.loads(written(AnswerFormat.JSON, rows=rows, truncated=truncated))
    shown = [{"number": 1, "digest": "00ff"}, {"number": 2, "digest": None}, {"number": 3, "digest": "7a"}][:rows]
    assert found == {"columns": ["number", "digest"], "rows": shown, **end}
    lines = written(AnswerFormat.NDJSON, rows=rows, truncated=truncated).splitlines()
    assert [json.loads(line) for line in lines] == [*shown, end]


@pytest.mark.parametrize("truncated", [False, True])
@pytest.mark.parametrize("rows", [0, 3])
def test_binary_ends_with_rows_and_whether_there_are_more(rows: int, truncated: bool) -> None:
    """Parquet has it in its footer, an Arrow stream with its last batch, which adds no row."""
    end = {b"holdfast.row_count": str(rows).encode(), b"holdfast.truncated": str(truncated).lower().encode()}
    file = pq.ParquetFile(pa.BufferReader(written(AnswerFormat.PARQUET, rows=rows, truncated=truncated)))
    assert end.items() <= file.metadata.metadata.items()
    assert file.read().equals(TABLE.slice(0, rows))
    reader = pa.ipc.open_stream(written(AnswerFormat.ARROW, rows=rows, truncated=truncated))
    found = list(reader.iter_batches_with_custom_metadata())
    assert dict(found[-1].custom_metadata.items()) == end
    assert pa.Table.from_batches([one.batch for one in found]).equals(TABLE.slice(0, rows))


def test_csv_has_the_rows_alone() -> None:
    """A reader of CSV meets nothing but the names and the rows."""
    lines = list(csv.reader(io.StringIO(written(AnswerFormat.CSV).decode())))
    assert lines == [["number", "digest"], ["1", "00ff"], ["2", ""], ["3", "7a"]]


def test_what_breaks_off_has_no_end() -> None:
    """When the rows fail there is no end, in no form that has one."""

    def failing() -> object:
        yield TABLE.to_batches()[0]
        raise ConnectionError

    for form in AnswerFormat:
        pieces: list[bytes] = []
        with pytest.raises(ConnectionError):
            pieces.extend(encode(form, TABLE.schema, failing()))  # type: ignore[arg-type]
        assert b"row_count" not in b"".join(pieces)

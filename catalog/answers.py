"""Rows as bytes: JSON, NDJSON, CSV, Arrow stream, Parquet. One writer for the API, the command line and the SQL door.

Imports pyarrow and msgspec, nothing of ours. Streams, a batch at a time. Bytes are hex digits and times RFC 3339 UTC
in the text formats. All but CSV, which has no place for it, end with `End`, so that a cut answer is seen.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq


class AnswerFormat(StrEnum):
    """How an answer is written."""

    JSON = "json"
    NDJSON = "ndjson"
    CSV = "csv"
    ARROW = "arrow"
    PARQUET = "parquet"


MEDIA_TYPES: dict[AnswerFormat, str] = {
    AnswerFormat.JSON: "application/json",
    AnswerFormat.NDJSON: "application/x-ndjson",
    AnswerFormat.CSV: "text/csv; charset=utf-8",
    AnswerFormat.ARROW: "application/vnd.apache.arrow.stream",
    AnswerFormat.PARQUET: "application/vnd.apache.parquet",
}

Batches = Iterable[pa.RecordBatch]
METADATA = "holdfast.{name}"
"""How a field of `End` is called in Parquet's footer, and in the metadata of an Arrow stream's last batch."""


class End(msgspec.Struct, frozen=True):
    """What stands behind the rows: how many they are, and whether there are more that were not sent."""

    row_count: int
    truncated: bool


def encode(
    answer: AnswerFormat, schema: pa.Schema, batches: Batches, *, truncated: Callable[[], bool] = lambda: False
) -> Iterator[bytes]:
    """Yield the answer piece by piece. `truncated` is asked behind the last batch whether there are more rows."""
    rows = 0

    def counted() -> Iterator[pa.RecordBatch]:
        nonlocal rows
        for batch in batches:
            rows += batch.num_rows
            yield batch

    return ENCODERS[answer](schema, counted(), lambda: End(rows, truncated()))


def _json(schema: pa.Schema, batches: Batches, end: Ending) -> Iterator[bytes]:
    yield b'{"columns":' + msgspec.json.encode(schema.names) + b',"rows":['
    between = b"\n"
    for batch in batches:
        if batch.num_rows:
            yield between + b",\n".join(map(_line, batch.to_pylist()))
            between = b",\n"
    yield b"\n]," + msgspec.json.encode(end())[1:] + b"\n"


def _ndjson(schema: pa.Schema, batches: Batches, end: Ending) -> Iterator[bytes]:
    for batch in batches:
        if batch.num_rows:
            yield b"".join(_line(row) + b"\n" for row in batch.to_pylist())
    yield msgspec.json.encode(end()) + b"\n"


def _csv(schema: pa.Schema, batches: Batches, end: Ending) -> Iterator[bytes]:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(schema.names)
    yield _taken(text)
    for batch in batches:
        writer.writerows([_cell(value) for value in row.values()] for row in batch.to_pylist())
        yield _taken(text)


def _arrow(schema: pa.Schema, batches: Batches, end: Ending) -> Iterator[bytes]:
    sink = _Pieces()
    with pa.ipc.new_stream(sink, schema) as stream:
        yield sink.taken()
        for batch in batches:
            stream.write_batch(batch)
            yield sink.taken()
        # The head of a stream is written before its rows, so a last batch without rows has it.
        stream.write_batch(pa.RecordBatch.from_pylist([], schema), custom_metadata=_metadata(end()))
    yield sink.taken()


def _parquet(schema: pa.Schema, batches: Batches, end: Ending) -> Iterator[bytes]:
    sink = _Pieces()
    with pq.ParquetWriter(sink, schema, compression="zstd") as writer:
        for batch in batches:
            writer.write_batch(batch)
            yield sink.taken()
        writer.add_key_value_metadata(_metadata(end()))
    yield sink.taken()


Ending = Callable[[], End]
ENCODERS: dict[AnswerFormat, Callable[[pa.Schema, Batches, Ending], Iterator[bytes]]] = {
    AnswerFormat.JSON: _json,
    AnswerFormat.NDJSON: _ndjson,
    AnswerFormat.CSV: _csv,
    AnswerFormat.ARROW: _arrow,
    AnswerFormat.PARQUET: _parquet,
}


class _Pieces(io.RawIOBase):
    """A sink that gives back what was written since it was last asked."""

    def __init__(self) -> None:
        super().__init__()
        self._pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        piece = bytes(data)
        self._pieces.append(piece)
        return len(piece)

    def taken(self) -> bytes:
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)


def _metadata(end: End) -> dict[str, str]:
    return {
        METADATA.format(name=name): msgspec.json.encode(value).decode()
        for name, value in msgspec.structs.asdict(end).items()
    }


def _line(row: dict[str, Any]) -> bytes:
    return msgspec.json.encode({name: plain(value) for name, value in row.items()})


def _cell(value: Any) -> Any:
    shown = plain(value)
    return msgspec.json.encode(shown).decode() if isinstance(shown, dict | list) else shown


def plain(value: Any) -> Any:
    """The JSON form of a value of a row."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, datetime):
        at = value if value.tzinfo else value.replace(tzinfo=UTC)
        return at.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)


def _taken(text: io.StringIO) -> bytes:
    piece = text.getvalue().encode()
    text.seek(0)
    text.truncate()
    return piece

"""What a table looks like: columns, types, encodings, partition and order; pure but for pyarrow's types.

A table's description never changes within a lake: another description means another lake, rebuilt from events.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, get_args

import pyarrow as pa

from storage.errors import Invalid

Type = Literal["boolean", "int32", "int64", "uint32", "uint64", "varchar", "blob", "timestamptz"]
Encoding = Literal["plain", "delta", "dictionary", "default"]
Value = int | str | bytes | datetime
Range = tuple[Value | None, Value | None]
Where = Mapping[str, Range]

ARROW: dict[str, pa.DataType] = {
    "boolean": pa.bool_(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "uint32": pa.uint32(),
    "uint64": pa.uint64(),
    "varchar": pa.string(),
    "blob": pa.binary(),
    "timestamptz": pa.timestamp("us", tz="UTC"),
}
ROW_GROUP_ROWS = 122_880
_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_DELTA = {"varchar": "DELTA_BYTE_ARRAY", "blob": "DELTA_BYTE_ARRAY"}


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table.

    `encoding`: "default" is plain and zstd, "plain" is plain and uncompressed (digests), "delta" suits
    ascending integers, times and sorted text, "dictionary" few distinct values. `fixed_bytes` makes a blob
    FIXED_LEN_BYTE_ARRAY. Without `stats` files cannot be skipped by this column; blobs never have any.
    """

    name: str
    type: Type
    nullable: bool = False
    encoding: Encoding = "default"
    fixed_bytes: int | None = None
    stats: bool = True
    comment: str = ""

    def __post_init__(self) -> None:
        if self.type not in get_args(Type) or self.encoding not in get_args(Encoding):
            raise _wrong(self.name, f"type {self.type}, encoding {self.encoding}")
        if not _NAME.fullmatch(self.name):
            raise _wrong(self.name, "a column name is lower case letters, digits and underscores")
        if self.fixed_bytes is not None and (self.type != "blob" or not 0 < self.fixed_bytes <= 4096):
            raise _wrong(self.name, "fixed_bytes is for blobs of 1 to 4096 bytes")
        if self.encoding == "delta" and (self.type == "boolean" or self.fixed_bytes is not None):
            raise _wrong(self.name, "delta encoding is for integers, times and text")

    @property
    def has_stats(self) -> bool:
        """Whether files carry this column's smallest and largest value."""
        return self.stats and self.type != "blob"

    @property
    def arrow_type(self) -> pa.DataType:
        """The column's type in memory and in Parquet."""
        return pa.binary(self.fixed_bytes) if self.fixed_bytes is not None else ARROW[self.type]

    @property
    def parquet_encoding(self) -> str:
        """The Parquet encoding of the column's pages, were it not for the dictionary."""
        return _DELTA.get(self.type, "DELTA_BINARY_PACKED") if self.encoding == "delta" else "PLAIN"


@dataclass(frozen=True, slots=True)
class TableSpec:
    """A table: `partition` is an int32 column whose value is one for a whole file, `sort` the order of its rows.

    `keyed` tables are for finding rows by the first sort column, a required blob of fixed length: each file is in
    order by it, and every row group tells its bounds. `group_rows` is the size of a row group.
    """

    name: str
    columns: tuple[Column, ...]
    partition: str | None = None
    sort: tuple[str, ...] = ()
    comment: str = ""
    keyed: bool = False
    group_rows: int = ROW_GROUP_ROWS

    def __post_init__(self) -> None:
        names = [column.name for column in self.columns]
        if not _NAME.fullmatch(self.name):
            raise _wrong(self.name, "a table name is lower case letters, digits and underscores")
        if not names or len(set(names)) != len(names):
            raise _wrong(self.name, "a table has columns, each name once")
        if unknown := {*self.sort, *filter(None, [self.partition])} - set(names):
            raise _wrong(self.name, f"no column {', '.join(sorted(unknown))}")
        if self.partition and (self.column(self.partition).type, self.column(self.partition).nullable) != (
            "int32",
            False,
        ):
            raise _wrong(self.name, "the partition column is a required int32")
        if self.keyed and (self.partition or not self.sort or not _is_key(self.column(self.sort[0]))):
            raise _wrong(self.name, "a key is a required blob of fixed length, plain, in a table without partitions")
        if self.group_rows < 1:
            raise _wrong(self.name, "a row group has rows")

    @property
    def key(self) -> str | None:
        """The column that rows are found by, if the table has one."""
        return self.sort[0] if self.keyed else None

    def column(self, name: str) -> Column:
        """Return the column called `name`. Raises Invalid."""
        for column in self.columns:
            if column.name == name:
                return column
        raise Invalid(f"table {self.name} has no column {name}", code="unknown-column")

    @property
    def arrow_schema(self) -> pa.Schema:
        """The schema that rows of this table have."""
        return pa.schema([pa.field(c.name, c.arrow_type, nullable=c.nullable) for c in self.columns])


def _is_key(column: Column) -> bool:
    return column.fixed_bytes is not None and not column.nullable and column.encoding == "plain"


def _wrong(name: str, why: str) -> Invalid:
    return Invalid(f"{name!r} cannot be a part of a lake", code="table-spec", why=why)

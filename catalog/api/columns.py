"""Rows of lists as Arrow batches, for the forms of a list that are not JSON. Imports pyarrow and msgspec only.

The columns follow from the declared types of the row, so that an empty page has them too.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import Any

import msgspec
import pyarrow as pa
from msgspec import inspect

SIMPLE: dict[type[inspect.Type], pa.DataType] = {
    inspect.BoolType: pa.bool_(),
    inspect.IntType: pa.int64(),
    inspect.FloatType: pa.float64(),
    inspect.StrType: pa.string(),
    inspect.UUIDType: pa.string(),
    inspect.DateType: pa.string(),
    inspect.RawType: pa.string(),
    inspect.LiteralType: pa.string(),
    inspect.EnumType: pa.string(),
    inspect.BytesType: pa.binary(),
    inspect.DateTimeType: pa.timestamp("us", "UTC"),
}


@cache
def schema_of(row: type) -> pa.Schema:
    """The columns of a row type."""
    return pa.schema(list(_struct_type(inspect.type_info(row))))


def batch_of(row: type, rows: Sequence[Any]) -> pa.RecordBatch:
    """Rows of this type as a batch."""
    return pa.RecordBatch.from_pylist([_plain(item) for item in rows], schema=schema_of(row))


def _plain(item: Any) -> dict[str, Any]:
    """The fields of a row as Arrow takes them; JSON that is passed on as it is becomes text."""
    fields = msgspec.structs.asdict(item)
    raw = {name: bytes(value).decode() for name, value in fields.items() if isinstance(value, msgspec.Raw)}
    rest = {name: value for name, value in fields.items() if name not in raw}
    plain: dict[str, Any] = msgspec.to_builtins(rest, builtin_types=(datetime, bytes))
    return plain | raw


def _struct_type(kind: inspect.Type) -> pa.StructType:
    if not isinstance(kind, inspect.StructType):
        raise TypeError(f"{kind} is no row")
    return pa.struct([pa.field(field.encode_name, _arrow(field.type)) for field in kind.fields])


def _arrow(kind: inspect.Type) -> pa.DataType:
    if isinstance(kind, inspect.UnionType):
        (kind,) = (part for part in kind.types if not isinstance(part, inspect.NoneType))
    if isinstance(kind, inspect.StructType):
        return _struct_type(kind)
    if isinstance(kind, inspect.VarTupleType | inspect.ListType):
        return pa.list_(_arrow(kind.item_type))
    return SIMPLE[type(kind)]

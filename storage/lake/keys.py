"""The order of keyed tables: rows by a fixed-length key, compared as bytes. Imports `storage.lake.tables`."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from storage.lake.tables import TableSpec

LEAD_BYTES = 8


def key_bytes(column: pa.ChunkedArray | pa.Array) -> NDArray[np.uint8]:
    """The keys of a column as u8[rows, length]."""
    array = column
    if isinstance(column, pa.ChunkedArray):
        array = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    width = array.type.byte_width
    raw = np.frombuffer(array.buffers()[1], np.uint8) if len(array) else np.empty(0, np.uint8)
    return raw[array.offset * width : (array.offset + len(array)) * width].reshape(len(array), width)


def key_texts(column: pa.ChunkedArray | pa.Array) -> NDArray[np.bytes_]:
    """The keys of a column as one array that numpy can search; zero bytes at the end count as absent, for all alike."""
    keys = key_bytes(column)
    return np.ascontiguousarray(keys).view(f"S{keys.shape[1]}").ravel()


def in_key_order(spec: TableSpec, rows: pa.Table) -> pa.Table:
    """The rows in the order of their keys; rows with equal keys stay in the order they came in."""
    return rows.take(pa.array(_order(key_bytes(rows.column(spec.sort[0])))))


def _order(keys: NDArray[np.uint8]) -> NDArray[np.int64]:
    """A stable order by the first eight bytes, then by the others where those tell no difference."""
    lead = _lead(keys)
    order = np.argsort(lead, kind="stable")
    sorted_lead = lead[order]
    same = np.flatnonzero(sorted_lead[1:] == sorted_lead[:-1])
    if len(same) and (keys[order[same]] != keys[order[same + 1]]).any():
        rest: list[NDArray[np.unsignedinteger]] = [keys[:, at] for at in range(keys.shape[1] - 1, LEAD_BYTES - 1, -1)]
        order = np.lexsort((*rest, lead))
    return order.astype(np.int64)


def _lead(keys: NDArray[np.uint8]) -> NDArray[np.uint64]:
    head = np.zeros((len(keys), LEAD_BYTES), np.uint8)
    head[:, : min(LEAD_BYTES, keys.shape[1])] = keys[:, :LEAD_BYTES]
    return head.view(">u8").ravel().astype(np.uint64)

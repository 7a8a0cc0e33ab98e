"""Which rows a caller may see, as data and as a filter of Arrow. Imports nothing of ours."""

from __future__ import annotations

from functools import reduce
from operator import and_, or_

import pyarrow as pa
import pyarrow.dataset as ds

RowFilter = list[list[tuple[str, list[str] | None]]]
"""Rows for which in one of the lists each column has one of the values; None: the column is NULL."""


def row_filter(only: RowFilter) -> ds.Expression:
    """The filter that lets these rows through; no list lets none."""
    alternatives = [reduce(and_, [_condition(*each) for each in conditions]) for conditions in only]
    return reduce(or_, alternatives, ds.scalar(False))


def _condition(column: str, values: list[str] | None) -> ds.Expression:
    return ds.field(column).is_null() if values is None else ds.field(column).isin(pa.array(values, pa.string()))

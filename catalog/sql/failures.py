"""DuckDB's errors as ours. Imports `storage.errors` of ours; what a person reads is DuckDB's own text."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import duckdb
import pyarrow as pa

from storage.errors import Corrupt, HoldfastError, Invalid, Limit

CODES: tuple[tuple[type[duckdb.Error], str], ...] = (
    (duckdb.ParserException, "sql-syntax"),
    (duckdb.CatalogException, "sql-unknown-name"),
    (duckdb.BinderException, "sql-binder"),
    (duckdb.PermissionException, "sql-denied"),
    (duckdb.ConversionException, "sql-value"),
    (duckdb.OutOfRangeException, "sql-value"),
    (duckdb.Error, "sql-error"),
)


@contextmanager
def translated() -> Iterator[None]:
    """Raise ours for what DuckDB raises, while a statement is prepared and while its answer streams."""
    try:
        yield
    except MemoryError as error:
        raise _too_much(str(error)) from error
    except duckdb.Error as error:
        raise _ours(error) from error
    except (pa.ArrowException, OSError) as error:
        # A query that fails while it streams fails inside Arrow, which keeps the text only.
        raise _from_text(str(error)) from error


def _ours(error: duckdb.Error) -> HoldfastError:
    text = str(error).strip()
    code = next(code for kind, code in CODES if isinstance(error, kind))
    return _from_text(text, code)


def _from_text(text: str, code: str = "sql-error") -> HoldfastError:
    if text.startswith("Out of Memory Error") or "std::bad_alloc" in text:
        return _too_much(text.splitlines()[0])
    if text.startswith("IO Error"):
        return Corrupt("a file of the index cannot be read", code="index-file", why=text, hint="rebuild the index")
    return Invalid("the query cannot be answered", code=code, why=text)


def _too_much(why: str) -> Limit:
    return Limit("the query needs more memory than it may use", code="sql-memory", why=why)

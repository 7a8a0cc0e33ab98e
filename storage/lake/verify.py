"""Proving that every byte of the lake is as it was written; may import the modules of this package."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from storage.errors import Corrupt, HoldfastError
from storage.lake.catalog import Catalog
from storage.lake.plan import PlannedFile
from storage.lake.read import SealedFile


@dataclass(frozen=True, slots=True)
class Problem:
    """A file that is not as it was written; `code` as in the Corrupt error that reading it raises."""

    path: Path
    code: str
    why: str


def verify_lake(catalog: Catalog) -> Iterator[Problem]:
    """Yield what is wrong with the catalog and with the files that any snapshot cites."""
    try:
        checks = [row[0] for row in catalog.rows("PRAGMA quick_check(10)")]
    except HoldfastError as error:
        checks = [str(error)]
    for why in checks:
        if why != "ok":
            yield Problem(catalog.path, "lake-catalog", why)
    rows = catalog.rows(
        "SELECT t.table_name, f.path, f.record_count, f.file_size_bytes, f.footer_size, h.seal"
        " FROM ducklake_data_file f JOIN ducklake_table t USING (table_id)"
        " LEFT JOIN holdfast_file_seal h USING (data_file_id) ORDER BY f.data_file_id"
    )
    for table, name, *facts in rows:
        path = catalog.folder(table) / name
        if facts[-1] is None:
            yield Problem(path, "lake-foreign-rows", "not written by Holdfast")
        elif problem := _check(PlannedFile(path, *facts)):
            yield problem


def _check(file: PlannedFile) -> Problem | None:
    try:
        sealed = SealedFile(file)
        try:
            for group in range(sealed.metadata.num_row_groups):
                sealed.prove_group(group)
            if sealed.metadata.num_rows != file.rows:
                return Problem(file.path, "lake-catalog", f"{sealed.metadata.num_rows} rows, cited with {file.rows}")
        finally:
            sealed.close()
    except Corrupt as error:
        return Problem(file.path, error.code, error.why)
    return None

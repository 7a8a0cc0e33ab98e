"""The lake: append-only tables in Parquet, one catalog, one log position; the only door for other packages.

May import the modules of this package. A snapshot is the whole index at one position of the event log. Files
are durable before they are cited, and cited all together or not at all.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Self

import pyarrow as pa

from storage.errors import Conflict, Invalid
from storage.lake.catalog import Catalog, LakeSnapshot
from storage.lake.commit import commit_files
from storage.lake.compact import MIN_FILES, CompactReport, compact_table
from storage.lake.create import Random, create_catalog
from storage.lake.expire import CleanReport, ExpireReport, clean_orphans, delete_scheduled, expire_snapshots
from storage.lake.files import sync_folder, translated
from storage.lake.lookup import Lookup
from storage.lake.parquet import DataFile, FileWriter
from storage.lake.plan import PlannedFile, plan_files
from storage.lake.read import read_file
from storage.lake.tables import TableSpec, Where
from storage.lake.verify import Problem, verify_lake

CATALOG_NAME = "lake.sqlite"
NOWHERE: Where = MappingProxyType({})


def utc_now() -> datetime:
    """The time, aware UTC."""
    return datetime.now(UTC)


class Lake:
    """An open lake under `root`: root/lake.sqlite and root/data/. One value may be used from several threads."""

    def __init__(self, catalog: Catalog, random: Random) -> None:
        self.catalog = catalog
        self._random = random
        self._lookups = {name: Lookup(catalog, spec) for name, spec in catalog.specs.items() if spec.keyed}

    @classmethod
    def create(
        cls,
        root: Path,
        tables: Sequence[TableSpec],
        *,
        clock: Callable[[], datetime] = utc_now,
        random: Random = os.urandom,
    ) -> Self:
        """Create an empty lake at position 0. Raises Conflict when there is one."""
        create_catalog(root / CATALOG_NAME, tables, clock(), random)
        return cls.open(root, tables, clock=clock, random=random)

    @classmethod
    def open(
        cls,
        root: Path,
        tables: Sequence[TableSpec],
        *,
        clock: Callable[[], datetime] = utc_now,
        random: Random = os.urandom,
    ) -> Self:
        """Open a lake. Raises NotFound; Invalid for another version or other tables; Corrupt."""
        return cls(Catalog(root / CATALOG_NAME, tables, clock), random)

    @staticmethod
    def drop(root: Path) -> None:
        """Remove the lake under `root`, also a damaged one, for a rebuild. Raises Conflict while it is in use."""
        path = root / CATALOG_NAME
        if path.exists():
            _take_out_of_wal(path)
        for name in (f"{CATALOG_NAME}-wal", f"{CATALOG_NAME}-shm", CATALOG_NAME):
            (root / name).unlink(missing_ok=True)
        if (root / "data").exists():
            sync_folder(root)
            with translated(root / "data"):
                shutil.rmtree(root / "data")

    def position(self) -> int:
        """The log position of the newest snapshot; 0 when nothing was committed."""
        return self.catalog.head().position

    def snapshots(self) -> list[LakeSnapshot]:
        """All snapshots that were not expired, oldest first."""
        return self.catalog.snapshots()

    def writer(self, table: str, part: int | None = None, *, positions: tuple[int, int] | None = None) -> FileWriter:
        """Begin a file of `table`; `positions`, first and last of the events in it, only shape its name."""
        spec = self.catalog.spec(table)
        first, last = positions or (0, 0)
        name = f"{first:012d}-{last:012d}-{self._random(8).hex()}.parquet"
        return FileWriter(spec, self.catalog.ids[table].columns, self.catalog.folder(table), part, name)

    def commit(self, files: Sequence[DataFile], *, expected: int, position: int, message: str = "") -> int:
        """Make `files` of any tables visible and move from `expected` to `position`; return the snapshot's id.

        Raises Conflict "stale-projector" when the lake is not at `expected`, and nothing is changed.
        """
        return commit_files(self.catalog, files, expected, position, message)

    def plan(self, table: str, *, where: Where = NOWHERE, snapshot: int | None = None) -> list[PlannedFile]:
        """Return the files that may hold rows in all ranges; see `plan.plan_files`."""
        return plan_files(self.catalog, table, where, snapshot)

    def read(
        self,
        table: str,
        columns: Sequence[str] | None = None,
        *,
        where: Where = NOWHERE,
        snapshot: int | None = None,
        dictionaries: Sequence[str] = (),
    ) -> Iterator[pa.RecordBatch]:
        """Yield exactly the rows in all ranges, file by file. Raises Corrupt before a damaged byte is returned.

        Columns named in `dictionaries` come as dictionaries, which is faster where few values repeat.
        """
        spec = self.catalog.spec(table)
        for name in columns or ():
            spec.column(name)
        for file in self.plan(table, where=where, snapshot=snapshot):
            yield from read_file(file, spec, columns, where, dictionaries)

    def find(
        self, table: str, key: bytes, columns: Sequence[str] | None = None, *, position: int | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a keyed table that have exactly this key; every byte is proven.

        They are of the newest snapshot; or, when `position` is given, of one at that position or later.

        Fast and cheap in memory: a few small reads, whatever the size of the table. Raises Invalid for a table without
        a key or a key of another length, Corrupt for a damaged file.
        """
        self.catalog.spec(table)
        if table not in self._lookups:
            raise Invalid(f"table {table} has no key", code="no-key")
        return self._lookups[table].find(key, columns, position)

    def compact(self, table: str, *, min_files: int = MIN_FILES) -> CompactReport:
        """Merge small files of `table`, part by part; see `compact.compact_table`."""
        return compact_table(self.catalog, table, self._merged, min_files)

    def expire_snapshots(self, keep: Collection[int]) -> ExpireReport:
        """Forget all snapshots but those in `keep` and the newest; see `expire.expire_snapshots`."""
        return expire_snapshots(self.catalog, keep)

    def delete_scheduled(self, grace: timedelta) -> CleanReport:
        """Remove the bytes of files that expired longer than `grace` ago."""
        return delete_scheduled(self.catalog, grace)

    def clean_orphans(self, grace: timedelta) -> CleanReport:
        """Remove files that nobody cites or writes, older than `grace`; see `expire.clean_orphans`."""
        return clean_orphans(self.catalog, grace)

    def verify(self) -> Iterator[Problem]:
        """Yield the files that are missing, truncated or changed; reads everything."""
        return verify_lake(self.catalog)

    def _merged(self, table: str, part: int | None, positions: tuple[int, int]) -> FileWriter:
        return self.writer(table, part, positions=positions)

    def close(self) -> None:
        """Close the catalog; files being written stay the writers' own."""
        for lookup in self._lookups.values():
            lookup.close()
        self.catalog.close()


def _take_out_of_wal(path: Path) -> None:
    """Leave WAL mode, which takes every lock there is; a file that is no database needs none."""
    try:
        with closing(sqlite3.connect(path, timeout=1, isolation_level=None)) as db:
            db.execute("PRAGMA journal_mode=DELETE")
    except sqlite3.OperationalError as error:
        raise Conflict(f"the index at {path} is in use", code="lake-busy", why=str(error)) from error
    except sqlite3.DatabaseError:
        return

"""The SQLite file under the log: how it is opened, and the library's factory for it.

Imports `storage.errors` and its neighbours of ours. Each connection is in WAL mode and syncs each commit, and that
is asserted, since another build of SQLite may have other defaults. A failed commit leaves no open transaction.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from urllib.parse import quote

from eventsourcing.sqlite import SQLiteConnection, SQLiteConnectionPool, SQLiteDatastore, SQLiteFactory
from eventsourcing.utils import Environment, EnvType

from catalog.log import tables
from catalog.log.recorder import ChainedRecorder
from storage.errors import Corrupt, Unavailable

FORMAT = 1
APPLICATION_ID = 0x48464556
PAGE_BYTES = 8192
WAL_LIMIT_BYTES = 64 * 1024 * 1024
FULL = 2


def database_uri(path: Path) -> str:
    """A URI that opens `path` and never creates it, whatever characters the path has."""
    return f"file:{quote(str(path.absolute()))}?mode=rw"


class LogConnection(SQLiteConnection):
    """A connection that rolls back when a commit fails, so that the pool gets it back clean."""

    def commit(self) -> None:
        """Commit, or raise with nothing written."""
        try:
            super().commit()
        except sqlite3.Error:
            self.rollback()
            raise


class LogPool(SQLiteConnectionPool):
    """Connections with our settings; one that cannot have them is closed."""

    def _create_connection(self) -> SQLiteConnection:
        connection = sqlite3.connect(
            self.db_name, uri=True, check_same_thread=False, isolation_level=None, timeout=self.lock_timeout or 0
        )
        try:
            _configure(connection)
        except BaseException:
            connection.close()
            raise
        return LogConnection(connection, max_age=None)


def _configure(connection: sqlite3.Connection) -> None:
    connection.execute(f"PRAGMA synchronous={FULL}")
    connection.execute("PRAGMA trusted_schema=OFF")
    connection.execute(f"PRAGMA journal_size_limit={WAL_LIMIT_BYTES}")
    (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
    (synchronous,) = connection.execute("PRAGMA synchronous").fetchone()
    if mode != "wal":
        raise Corrupt("the file is no event log", code="log-format", why=f"its journal mode is {mode}")
    if synchronous != FULL:
        raise Unavailable("commits would not be durable", code="log-sync", why=f"synchronous is {synchronous}")


class LogFactory(SQLiteFactory):
    """The library's SQLite factory with our connections and our recorder."""

    application_recorder_class = ChainedRecorder

    def __init__(self, env: Environment | EnvType | None) -> None:
        super().__init__(env)
        store: SQLiteDatastore = self.datastore
        timeout = store.pool.lock_timeout or 0
        store.pool = LogPool(db_name=store.pool.db_name, lock_timeout=timeout, pool_timeout=timeout)


def create_file(path: Path) -> None:
    """Lay out an empty log at `path`, where nothing is yet."""
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute(f"PRAGMA page_size={PAGE_BYTES}")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"PRAGMA synchronous={FULL}")
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version={FORMAT}")
        for statement in tables.CREATE:
            connection.execute(statement)
        connection.execute("COMMIT")
    finally:
        connection.close()

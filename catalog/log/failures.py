"""Failures of SQLite, the event library and the system in our words; imports `storage.errors` of ours."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from eventsourcing.persistence import ConnectionUnavailableError, PersistenceError

from storage.errors import Corrupt, Denied, HoldfastError, Limit, NotFound, Unavailable

BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
REFUSED = frozenset({sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_AUTH})
UNREACHABLE = frozenset({sqlite3.SQLITE_IOERR, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_PROTOCOL})


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn failures of the database at `path` into ours; integrity errors pass, their meaning is the caller's."""
    try:
        yield
    except (sqlite3.IntegrityError, HoldfastError):
        raise
    except ConnectionUnavailableError as error:
        raise _busy(path, str(error)) from error
    except (sqlite3.Error, PersistenceError) as error:
        cause = error.__cause__ if isinstance(error, PersistenceError) else error
        if isinstance(cause, sqlite3.IntegrityError):
            raise
        raise _failure(path, getattr(cause, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT), str(error)) from error
    except OSError as error:
        raise _refused(path, error) from error
    except UnicodeDecodeError as error:
        # Python decodes SQLite's messages strictly, and those quote the damaged schema.
        raise _failure(path, sqlite3.SQLITE_CORRUPT, str(error)) from error


def _failure(path: Path, extended_code: int, why: str) -> HoldfastError:
    code = extended_code & 0xFF
    if code in BUSY:
        return _busy(path, why)
    if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_TOOBIG):
        return Limit(
            f"the event log {path} cannot grow", code="log-full", why=why, hint="free space on its file system"
        )
    if code in REFUSED:
        return Denied(f"the event log {path} cannot be opened", code="log-denied", why=why)
    if code in UNREACHABLE:
        return Unavailable(f"the event log {path} cannot be read or written", code="log-io", why=why)
    return Corrupt(
        f"the event log {path} is damaged",
        code="log-damaged",
        why=why,
        hint="keep the file and restore the log from a copy",
    )


def _refused(path: Path, error: OSError) -> HoldfastError:
    what, why = f"the event log {path} cannot be written", error.strerror or str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Limit(what, code="log-full", why=why, hint="free space on its file system")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return Denied(what, code="log-denied", why=why)
    if error.errno == errno.ENOENT:
        return NotFound(what, code="log-missing", why=why)
    return Unavailable(what, code="log-io", why=why)


def _busy(path: Path, why: str) -> Unavailable:
    return Unavailable(
        f"the event log {path} is held by another writer", code="log-busy", why=why, hint="try again shortly"
    )

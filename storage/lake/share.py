"""A read-only twin of a lake for readers that may not touch ours: its own catalog, the same data files.

May import the modules of this package. Data files are immutable, so the twin links to them (or copies them on another
file system); nobody who reads the twin can write it or reach the original. Renewing it swaps the catalog in one step.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from storage.errors import Conflict
from storage.lake.catalog import Catalog
from storage.lake.files import make_folder, sync_folder, translated

CATALOG = "lake.sqlite"
MARK = ".sharing"
"""Says that the folder is ours, and is locked by who writes there."""
FILE_MODE = 0o444
FOLDER_MODE = 0o755


@dataclass(frozen=True, slots=True)
class ShareReport:
    """What the twin has: files and their bytes; `added` were not there before, `removed` are not any more."""

    files: int
    size_bytes: int
    added: int
    removed: int


def share_lake(catalog: Catalog, folder: Path) -> ShareReport:
    """Make the twin at `folder`, or renew it. Raises Conflict when it holds anything else, or another is at it."""
    shared = folder / CATALOG
    if folder.exists() and any(folder.iterdir()) and not shared.exists() and not (folder / MARK).exists():
        raise Conflict(f"{folder} holds something else", code="share-folder", hint="choose an empty folder")
    with translated(folder), _alone(folder):
        make_folder(folder / "data")
        before = set(_cited(shared)) if shared.exists() else set()
        draft = folder / f"{CATALOG}.new"
        _copy_catalog(catalog.path, draft, folder / "data")
        cited = _cited(draft)
        added = sum(_link(catalog.data / name, folder / "data" / name) for name in cited)
        draft.chmod(FILE_MODE)
        draft.replace(shared)
        sync_folder(folder)
        removed = _remove_others(folder / "data", before | set(cited))
        _open_folders(folder)
    return ShareReport(len(cited), sum(cited.values()), added, removed)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    make_folder(folder)
    with (folder / MARK).open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Conflict(
                f"{folder} is being renewed already", code="share-busy", hint="wait until that is done"
            ) from error
        yield


def _copy_catalog(source: Path, draft: Path, data: Path) -> None:
    draft.unlink(missing_ok=True)
    with closing(sqlite3.connect(source)) as theirs, closing(sqlite3.connect(draft)) as ours:
        theirs.backup(ours)
        ours.execute("PRAGMA journal_mode=DELETE")
        with ours:
            ours.execute(
                "UPDATE ducklake_metadata SET value = ? WHERE key = 'data_path' AND scope IS NULL",
                (f"{os.path.abspath(data)}/",),
            )
            ours.execute("DELETE FROM ducklake_files_scheduled_for_deletion")
    with draft.open("rb") as file:
        os.fsync(file.fileno())


def _cited(path: Path) -> dict[str, int]:
    """The data files of any snapshot, below `data/`, and their sizes."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        rows = db.execute(
            "SELECT 'main/' || t.table_name || '/' || f.path, f.file_size_bytes"
            " FROM ducklake_data_file f JOIN ducklake_table t USING (table_id)"
        )
        return dict(rows.fetchall())


def _link(source: Path, target: Path) -> bool:
    if target.exists():
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK):
            raise
        partial = target.with_suffix(".partial")
        shutil.copyfile(source, partial)
        partial.replace(target)
    target.chmod(FILE_MODE)
    return True


def _remove_others(data: Path, wanted: set[str]) -> int:
    """Remove what neither this catalog nor the one before cites: its readers may still be at work."""
    gone = [path for path in _files(data) if path.relative_to(data).as_posix() not in wanted]
    for path in gone:
        path.unlink()
    return len(gone)


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


def _open_folders(folder: Path) -> None:
    for path in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
        path.chmod(FOLDER_MODE)

"""Places outside the database where checkpoints are kept: what a place is, and the one that is a directory.

Imports `catalog.ledger.checkpoint`, `storage.files` and `storage.errors` of ours. A place is only ever added to:
nothing there is replaced or removed by us. The name of a checkpoint is `<repository id>/<size, 20 digits>.note`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol
from uuid import UUID

from catalog.ledger.checkpoint import Checkpoint
from catalog.ledger.note import MAX_NOTE_BYTES
from storage.errors import Conflict, Corrupt, Unavailable
from storage.files import create_file, make_directory, storage_error

SUFFIX = ".note"
MAX_NAMES = 1_000_000


class Place(Protocol):
    """Keeps the checkpoints of one repository. Methods raise HoldfastError; Corrupt means that content is not ours."""

    def put(self, checkpoint: Checkpoint) -> None:
        """Create a checkpoint, durably; the very same one may be there already. Corrupt if another is."""

    def sizes(self, since: int = 0) -> Iterator[int]:
        """The sizes of the checkpoints kept there, from `since` on, ascending."""

    def read(self, size: int) -> str:
        """The note of one size. Raises NotFound, Unavailable, Corrupt."""


def note_name(size: int) -> str:
    """The name of a checkpoint: names sort as sizes do."""
    return f"{size:020}{SUFFIX}"


def size_of(name: str) -> int | None:
    """The size that a name stands for, None when it is no checkpoint's."""
    stem = name.removesuffix(SUFFIX)
    return int(stem) if len(stem) == 20 and stem.isascii() and stem.isdigit() and name == stem + SUFFIX else None


def check_note_bytes(content: bytes, name: str) -> str:
    """The text of a note that was read. Raises Corrupt `ledger-place-content`."""
    try:
        if len(content) <= MAX_NOTE_BYTES:
            return content.decode()
    except UnicodeDecodeError:
        pass
    raise Corrupt(f"{name} is no checkpoint", code="ledger-place-content")


def other_content(name: str) -> Corrupt:
    """The error when a place already holds something else under the name of a checkpoint."""
    return Corrupt(
        f"another checkpoint is kept as {name}",
        code="ledger-place-content",
        why="two logs were signed at this size, or somebody wrote there",
        hint="compare them: holdfast ledger check",
    )


class DirectoryPlace:
    """A directory, which must exist: best on another machine, or where files can only be added."""

    def __init__(self, path: Path, repository_id: UUID) -> None:
        self._path = path
        self._folder = path / str(repository_id)

    def put(self, checkpoint: Checkpoint) -> None:
        """Create a checkpoint, durably; the very same one may be there already. Corrupt if another is."""
        self._check()
        name = note_name(checkpoint.size)
        try:
            make_directory(self._folder)
            create_file(self._folder / name, [checkpoint.note.encode()], partial=self._folder, mode=0o444)
        except Conflict as error:
            if self.read(checkpoint.size) != checkpoint.note:
                raise other_content(name) from error
        except OSError as error:
            raise storage_error(error, f"cannot write below {self._path}") from error

    def sizes(self, since: int = 0) -> Iterator[int]:
        """The sizes of the checkpoints kept there, from `since` on, ascending."""
        self._check()
        try:
            names = os.listdir(self._folder) if self._folder.is_dir() else []
        except OSError as error:
            raise storage_error(error, f"cannot list {self._folder}") from error
        yield from sorted(size for size in map(size_of, names) if size is not None and size >= since)

    def read(self, size: int) -> str:
        """The note of one size. Raises Unavailable, Corrupt."""
        path = self._folder / note_name(size)
        try:
            with path.open("rb") as file:
                return check_note_bytes(file.read(MAX_NOTE_BYTES + 1), str(path))
        except OSError as error:
            raise storage_error(error, f"cannot read {path}") from error

    def _check(self) -> None:
        if not self._path.is_dir():
            raise Unavailable(
                f"there is no directory {self._path}",
                code="ledger-place-missing",
                hint="mount it, or remove this place: holdfast ledger place remove",
            )

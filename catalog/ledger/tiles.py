"""Hashes of complete subtrees, kept in files; imports `storage.files` of ours.

A cache: whoever reads it checks the result against a root and may drop it. File `level-08` holds the roots of 256
leaves each, one behind the other, `level-16` those of 256 of these, and so on. A file appears whole.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from catalog.ledger.proofs import HASH_BYTES
from storage.files import make_directory, replace_file

STEP = 8
"""Levels of the tree from one file to the next: 256 hashes become one."""


class Tiles:
    """The files below `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def count(self, level: int) -> int:
        """How many hashes of a level are kept."""
        try:
            return self._path(level).stat().st_size // HASH_BYTES
        except FileNotFoundError:
            return 0

    def read(self, level: int, first: int, count: int) -> bytes | None:
        """Return `count` hashes of a level; None unless all of them are kept."""
        try:
            descriptor = os.open(self._path(level), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            found = os.pread(descriptor, count * HASH_BYTES, first * HASH_BYTES)
        finally:
            os.close(descriptor)
        return found if len(found) == count * HASH_BYTES else None

    def extend(self, level: int, known: int, hashes: bytes) -> None:
        """Keep more hashes of a level, behind the first `known` ones."""
        kept = self.read(level, 0, known) if known else b""
        if kept is None or not hashes:
            return
        make_directory(self._folder)
        replace_file(self._path(level), [kept, hashes], partial=self._folder)

    def drop(self) -> None:
        """Forget everything."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _path(self, level: int) -> Path:
        return self._folder / f"level-{level:02}"

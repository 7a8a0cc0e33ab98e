"""An entrance as open descriptors: the planned files, and copies in sealed memory. Linux only.

Imports this package, `catalog.sql.entrance` and `storage.errors`.
"""

from __future__ import annotations

import fcntl
import os
from typing import Self

import pyarrow as pa

from catalog.sql.door.wire import Enter, Source
from catalog.sql.entrance import Entrance
from storage.errors import Corrupt

SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL


class Descriptors:
    """All that enters, open for the length of a block; `numbers` are in the order of the message's sources."""

    def __init__(self, entrance: Entrance) -> None:
        self._entrance = entrance
        self.numbers: list[int] = []

    def __enter__(self) -> Self:
        try:
            for table in self._entrance.tables:
                if table.copy is not None:
                    self.numbers.append(sealed(table.table, table.copy))
                for path in table.files:
                    self.numbers.append(_opened(path))
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close them; the worker has its own."""
        while self.numbers:
            os.close(self.numbers.pop())

    def message(self, threads: int) -> Enter:
        """What tells the worker which descriptor is what."""
        sources = [
            Source(
                table=table.table,
                files=len(table.files) if table.copy is None else 1,
                copied=table.copy is not None,
                only=table.only,
            )
            for table in self._entrance.tables
        ]
        return Enter(sources, list(self._entrance.statements), threads)


def sealed(name: str, content: pa.Buffer) -> int:
    """A descriptor of memory that nobody can change any more."""
    descriptor = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        left = memoryview(content)
        while left:
            left = left[os.write(descriptor, left) :]
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, SEALS)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _opened(path: os.PathLike[str]) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise Corrupt(
            "a file of the index cannot be read", code="index-file", why=str(error), hint="rebuild the index"
        ) from error

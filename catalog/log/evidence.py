"""The log as stored: leaves, links and raw states, for those who prove or check it. Imports its neighbours of ours.

A generator holds a read transaction while it is open, and the memory of one row or of a few leaves.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from uuid import UUID

from catalog.log import tables
from catalog.log.chain import ChainedRow, StoredRow
from catalog.log.failures import translated
from catalog.log.recorder import ChainedRecorder
from storage.errors import Corrupt, NotFound

LEAVES_AT_ONCE = 4096
ROWS_AT_ONCE = 256
HASH_BYTES = 32


class LogEvidence:
    """Reads what proofs are made of."""

    def __init__(self, recorder: ChainedRecorder, path: Path) -> None:
        self._recorder = recorder
        self._path = path

    def leaves(self, after: int, until: int) -> Iterator[bytes]:
        """The chain's leaves behind `after`, up to `until` or the end of the log. Corrupt when one is missing."""
        while after < until:
            with translated(self._path), self._recorder.datastore.transaction(commit=False) as c:
                c.execute(tables.LEAVES, (after, min(until, after + LEAVES_AT_ONCE)))
                page = c.fetchall()
            if not page:
                return
            for position, leaf in page:
                if position != after + 1 or not isinstance(leaf, bytes) or len(leaf) != HASH_BYTES:
                    raise Corrupt(
                        f"the chain has no link at position {after + 1}", code="log-gap", hint="verify the log"
                    )
                yield leaf
                after = position

    def rows(self, after: int, until: int) -> Iterator[ChainedRow]:
        """The rows behind `after`, up to `until`, as the database has them: nothing in them was verified."""
        with translated(self._path), closing(self._recorder.rows_after(after, until)) as rows:
            yield from rows

    def trusted(self, after: int, until: int) -> Iterator[StoredRow]:
        """The rows behind `after`, up to `until`, each verified against its leaf, none missing. Corrupt."""
        while after < until:
            with translated(self._path), closing(self._recorder.log_after(after)) as rows:
                page = list(islice(rows, min(until - after, ROWS_AT_ONCE)))
            if not page:
                return
            yield from page
            after = page[-1].position

    def stored(self, position: int) -> StoredRow:
        """One row, verified against its leaf. Raises NotFound, Corrupt."""
        with translated(self._path), closing(self._recorder.log_after(position - 1)) as rows:
            row = next(rows, None) if position > 0 else None
        if row is None:
            raise NotFound(f"the log has no position {position}", code="log-position")
        return row

    def stream(self, originator_id: UUID) -> Iterator[StoredRow]:
        """All rows of one stream, verified against their leaves, none missing."""
        rows: Generator[StoredRow, None, None] = self._recorder.stream_after(originator_id, 0)
        with translated(self._path), closing(rows):
            yield from rows

"""The projector: follows the event log and keeps the index, exactly once.

May import `catalog` and `storage.lake`. Files and position are committed together; rows of a run enter with the
restore point that cites it and not before. A projector that finds the index elsewhere than it left it stops.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import takewhile

from catalog.domain import ids
from catalog.domain.events import RestorePointCommitted
from catalog.log import EventLog, Recorded
from catalog.projections.blocks import rows_of
from catalog.projections.lock import LOCK_NAME, held
from catalog.projections.project import project
from catalog.projections.sheets import Sheets
from catalog.projections.upkeep import keep_up
from catalog.sealed import sealed_batches
from storage.errors import Conflict
from storage.lake import Lake

COMMIT_BYTES = 128 * 1024 * 1024
WAIT_SECONDS = 5.0

Progress = Callable[[int, int], None]
"""Told the position reached and the position of the log's end."""


class Projector:
    """Brings `lake` up to `log`. `commit_bytes` of rows in memory, about, make one commit."""

    def __init__(
        self, log: EventLog, lake: Lake, *, commit_bytes: int = COMMIT_BYTES, wait_seconds: float = WAIT_SECONDS
    ) -> None:
        self._log = log
        self._lake = lake
        self._commit_bytes = commit_bytes
        self._wait_seconds = wait_seconds

    def catch_up(self, progress: Progress | None = None) -> int:
        """Project what the log holds now; return the position of the index.

        While another projector is at work longer than a short wait, that is wherever it has got to. Raises
        Corrupt when rows of a restore point do not verify, Conflict when the index is ahead of the log or moved.
        """
        with held(self._lake.catalog.path.with_name(LOCK_NAME), self._wait_seconds) as mine:
            if not mine:
                return self._lake.position()
            touched: set[str] = set()
            position = self._project(progress, touched)
            keep_up(self._lake, touched)
            return position

    def _project(self, progress: Progress | None, touched: set[str]) -> int:
        position, end = self._lake.position(), self._log.position()
        if position > end:
            raise Conflict(
                f"the index is at position {position}, the event log ends at {end}",
                code="index-ahead",
                why="the log is an older copy, or the index belongs to another one",
                hint="rebuild the index",
            )
        sheets = Sheets(self._lake, position + 1, self._commit_bytes)
        try:
            for recorded in takewhile(lambda recorded: recorded.position <= end, self._log.follow(position)):
                self._add(sheets, recorded)
                done = recorded.position
                if sheets.weight_bytes >= self._commit_bytes or done == end:
                    files = sheets.close(done)
                    self._lake.commit(files, expected=position, position=done, message=f"events to {done}")
                    touched.update(file.table for file in files)
                    position, sheets = done, Sheets(self._lake, done + 1, self._commit_bytes)
                    if progress is not None:
                        progress(done, end)
        finally:
            sheets.abandon()
        return position

    def _add(self, sheets: Sheets, recorded: Recorded) -> None:
        for table, row in project(recorded):
            sheets.add(table, row)
        if isinstance(recorded.event, RestorePointCommitted):
            for point in recorded.event.disks:
                part = ids.part_of(point.disk_id)
                for batch in sealed_batches(self._log, point):
                    table, rows = rows_of(point, batch)
                    sheets.stream(table, part, rows)
                    if table == "chunks":
                        sheets.collect("chunk_refs", rows)

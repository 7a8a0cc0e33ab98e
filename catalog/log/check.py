"""Whether a log is one, is whole, and is the one that was written.

Imports `storage.errors` and its neighbours of ours. The checks at opening take the same time for any size;
verification reads everything, with the memory of a few rows.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from catalog.log import tables
from catalog.log.chain import ChainedRow, ChainReport, walk
from catalog.log.failures import translated
from catalog.log.recorder import ChainedRecorder
from catalog.log.sqlite import APPLICATION_ID, FORMAT
from storage.errors import Corrupt, Invalid, NotFound


class LogCheck:
    """Checks of the log at `path`, read through `recorder`."""

    def __init__(self, recorder: ChainedRecorder, path: Path) -> None:
        self._recorder = recorder
        self._path = path

    def at_open(self) -> None:
        """Corrupt when the file is no event log or lost its tail, Invalid when a newer version wrote it."""
        with translated(self._path):
            (application_id,) = self._recorder.one("PRAGMA application_id")
            (written,) = self._recorder.one("PRAGMA user_version")
            if application_id != APPLICATION_ID or written < FORMAT:
                raise Corrupt(f"{self._path} is a database, but no event log", code="log-format")
            if written > FORMAT:
                raise Invalid(
                    f"the event log {self._path} has format {written}, this version knows {FORMAT}",
                    code="log-newer",
                    hint="use the version of holdfast that wrote it, or a newer one",
                )
            problem = self._tail_problem()
        if problem:
            raise Corrupt(
                f"the event log {self._path} has lost its end",
                code="log-tail",
                why=problem,
                hint="restore the log from a copy",
            )

    def chain(self, after: int, expected: tuple[int, bytes] | None) -> ChainReport:
        """Walk the chain behind `after`, through `expected` if given, to its end."""
        with translated(self._path):
            head = self._recorder.head_at(after)
        if head is None or (expected is not None and expected[0] < after):
            raise NotFound(f"the chain cannot be followed from position {after}", code="log-position")
        report = ChainReport(0, after, head)
        if expected is not None:
            report = _compared(self._walk(report, expected[0]), *expected)
        if report.ok:
            report = self._walk(report, None)
        if report.ok:
            report = self._ended(report, whole_file=after == 0)
        return report

    def _walk(self, report: ChainReport, until: int | None) -> ChainReport:
        with closing(self._rows(report.position, until)) as rows:
            walked = walk(rows, report.position, report.head)
        return replace(walked, events=report.events + walked.events)

    def _rows(self, after: int, until: int | None) -> Generator[ChainedRow, None, None]:
        with translated(self._path):
            yield from self._recorder.rows_after(after, until)

    def _ended(self, report: ChainReport, *, whole_file: bool) -> ChainReport:
        with translated(self._path):
            tail = self._tail_problem()
            if tail:
                return replace(report, bad_position=report.position + 1, problem=tail)
            return replace(report, problem=self._file_problem() if whole_file else "")

    def _file_problem(self) -> str:
        (structure,) = self._recorder.one("PRAGMA integrity_check(1)")
        if structure != "ok":
            return f"the structure of the file is damaged: {structure}"
        (stream,) = self._recorder.one(tables.MISMATCHED_STREAM)
        return f"stream {stream} does not hold the versions that were recorded" if stream else ""

    def _tail_problem(self) -> str:
        issued, events, links = self._recorder.one(tables.ENDS)
        if issued == events == links:
            return ""
        return f"positions up to {issued} were given out, the events end at {events}, the chain at {links}"


def _compared(report: ChainReport, position: int, head: bytes) -> ChainReport:
    if not report.ok:
        return report
    if report.position < position:
        problem = f"the log ends here, and position {position} is known to have been recorded"
        return replace(report, bad_position=report.position + 1, problem=problem)
    if report.head != head:
        return replace(report, bad_position=position, problem="the head is not the one that was kept elsewhere")
    return report

"""Saving and reading events: the one door to the log.

Imports `catalog.domain` and `storage.errors` of ours. A save is one durable transaction; reading is bounded
in bytes, in order, and verified row by row. Positions count from 1, versions of a stream too.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Collection, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self
from uuid import UUID

from eventsourcing.persistence import IntegrityError, StoredEvent

from catalog.domain.events import Event
from catalog.log.application import LogApplication
from catalog.log.chain import ChainReport, StoredRow, leaf_of, next_head
from catalog.log.check import LogCheck
from catalog.log.evidence import LogEvidence
from catalog.log.failures import translated
from catalog.log.framing import plain_bytes
from catalog.log.sqlite import create_file
from storage.errors import Conflict, Corrupt, NotFound

PAGE_BYTES = 8 * 1024 * 1024
LEAST_EVENT_BYTES = 1024
"""What a small event costs in memory once it is decoded; counted at least, so that many of them stay bounded."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """An event, its place in the log, and the size of its state as stored."""

    position: int
    event: Event
    state_bytes: int


class EventLog:
    """One SQLite file. Safe to use from several threads and processes; open it after a fork, not before."""

    def __init__(self, path: Path, lock_timeout_s: int) -> None:
        self._path = path
        with translated(path):
            self._app = LogApplication(path, lock_timeout_s)
        self._recorder = self._app.chained
        self._mapper = self._app.msgpack
        self.evidence = LogEvidence(self._recorder, path)

    @classmethod
    def create(cls, path: Path, *, lock_timeout_s: int = 10) -> Self:
        """Lay out an empty log and open it; Conflict if `path` exists, whole or not at all otherwise."""
        with translated(path), tempfile.TemporaryDirectory(dir=path.parent, prefix=".events-") as folder:
            made = Path(folder) / path.name
            create_file(made)
            try:
                os.link(made, path)
            except FileExistsError as error:
                raise Conflict(f"{path} exists already", code="log-exists") from error
            _sync_directory(path.parent)
        return cls.open(path, lock_timeout_s=lock_timeout_s)

    @classmethod
    def open(cls, path: Path, *, lock_timeout_s: int = 10) -> Self:
        """Open a log that exists.

        NotFound; Corrupt if it is no event log, was cut short, or has lost its tail; Invalid(log-newer) if a newer
        version wrote it. Takes the same time whatever the size of the log: `verify_chain` looks at everything.
        """
        if not path.is_file():
            raise NotFound(f"there is no event log at {path}", code="log-missing")
        log = cls(path, lock_timeout_s)
        try:
            LogCheck(log._recorder, path).at_open()
        except BaseException:
            log.close()
            raise
        return log

    def save(self, *events: Event) -> int:
        """Record all events or none, durably, and return the last one's position.

        Conflict(event-version) when a version is taken or skipped, except that saving the very same events again
        returns where they are. Limit when the disk is full, Unavailable when another writer holds the log.
        """
        if not events:
            return self.position()
        try:
            with translated(self._path):
                return int(self._app.save(*events)[-1].notification.id)
        except (IntegrityError, sqlite3.IntegrityError) as error:
            return self._position_of_same(events, error)

    def append_stored(self, rows: Sequence[StoredRow], head: bytes) -> int:
        """Record rows of another copy of this log behind its end, as they are; return the position reached.

        Raises Corrupt (log-fork), and records nothing, unless they follow the last position and lead to `head`.
        """
        position, reached = self._recorder.last_link()
        for place, row in enumerate(rows, start=position + 1):
            leaf = leaf_of(row.originator_id, row.originator_version, row.topic, row.state)
            reached = next_head(reached, leaf) if row.position == place else b""
        if reached != head:
            raise Corrupt(
                f"the events behind position {position} do not follow from those before",
                code="log-fork",
                why="they are of another log, or of another story of this one",
            )
        with translated(self._path):
            self._recorder.insert_events([_stored(row) for row in rows])
        return position + len(rows)

    def stream(self, originator_id: UUID, after_version: int = 0) -> Iterator[Event]:
        """The events of one stream, in order; Corrupt when one was altered, is missing or cannot be decoded."""
        while True:
            rows = self._take(self._recorder.stream_after(originator_id, after_version), PAGE_BYTES)
            if not rows:
                return
            yield from map(self._event, rows)
            after_version = rows[-1].originator_version

    def version(self, originator_id: UUID) -> int:
        """The last version of a stream; 0 when it is empty."""
        with translated(self._path):
            return self._recorder.version(originator_id)

    def known(self, streams: Collection[UUID]) -> set[UUID]:
        """Those of the streams that hold an event."""
        with translated(self._path):
            return self._recorder.known(streams)

    def poll(self, after: int, *, max_bytes: int = PAGE_BYTES) -> list[Recorded]:
        """The next events behind position `after`, until their decoded size reaches `max_bytes`; at least one if any.

        Corrupt at a row that was altered or is missing, or when `after` lies behind the end of the log.
        """
        rows = self._take(self._recorder.log_after(after), max_bytes)
        if not rows and after > (last := self.position()):
            raise _behind(after, last)
        return [Recorded(row.position, self._event(row), len(row.state)) for row in rows]

    def follow(self, after: int = 0, *, max_bytes: int = PAGE_BYTES) -> Iterator[Recorded]:
        """All events behind `after`, up to the end of the log as it is now."""
        last = self.position()
        while after < last:
            page = self.poll(after, max_bytes=max_bytes)
            if not page:
                raise _behind(last, after)
            for recorded in page:
                if recorded.position > last:
                    return
                yield recorded
            after = page[-1].position

    def follow_only(
        self, kinds: Collection[type[Event]], after: int = 0, *, max_bytes: int = PAGE_BYTES
    ) -> Iterator[Recorded]:
        """The events of these types behind `after`; others are not read, so what is missing between does not show."""
        names = {kind.__name__ for kind in kinds}
        while rows := self._take(self._recorder.log_of(after, names), max_bytes):
            for row in rows:
                yield Recorded(row.position, self._event(row), len(row.state))
            after = rows[-1].position

    def position(self) -> int:
        """The last position; 0 when the log is empty."""
        with translated(self._path):
            return self._recorder.last_link()[0]

    def chain_head(self, at: int | None = None) -> bytes:
        """The 32-byte head of the chain at the end, or at position `at`; NotFound when the log does not reach it."""
        with translated(self._path):
            head = self._recorder.last_link()[1] if at is None else self._recorder.head_at(at)
        if head is None:
            raise NotFound(f"the log has no position {at}", code="log-position")
        return head

    def verify_chain(self, after: int = 0, *, expected: tuple[int, bytes] | None = None) -> ChainReport:
        """Recompute the chain behind `after`, in bounded memory, and name the first position that does not verify.

        `expected` is a position and head that were kept outside: only they can show a lost tail, or a chain
        that was recomputed. From the start (`after` 0) the structure of the file is checked too.
        """
        return LogCheck(self._recorder, self._path).chain(after, expected)

    def close(self) -> None:
        """Close all connections; the log cannot be used any more."""
        self._app.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _take(self, rows: Generator[StoredRow, None, None], max_bytes: int) -> list[StoredRow]:
        taken, spent = [], 0
        with translated(self._path), closing(rows):
            for row in rows:
                taken.append(row)
                spent += max(plain_bytes(row.state), LEAST_EVENT_BYTES)
                if spent >= max_bytes:
                    break
        return taken

    def _event(self, row: StoredRow) -> Event:
        return self._mapper.to_domain_event(_stored(row))

    def _position_of_same(self, events: tuple[Event, ...], clash: Exception) -> int:
        position = 0
        for event in events:
            with (
                translated(self._path),
                closing(self._recorder.stream_after(event.originator_id, event.originator_version - 1)) as rows,
            ):
                row = next(rows, None)
            if row is None or not self._mapper.same(self._mapper.to_stored_event(event), _stored(row)):
                raise Conflict(
                    f"stream {event.originator_id} was written by somebody else",
                    code="event-version",
                    why=f"version {event.originator_version} is not the one to be recorded",
                    hint="read the stream again and decide again",
                ) from clash
            position = row.position
        return position


def _stored(row: StoredRow) -> StoredEvent:
    return StoredEvent(row.originator_id, row.originator_version, row.topic, row.state)


def _behind(position: int, last: int) -> Corrupt:
    return Corrupt(
        f"the log ended at position {position} or later, and now ends at {last}",
        code="log-behind",
        hint="it lost its tail or is an older copy: rebuild what was derived from it",
    )


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

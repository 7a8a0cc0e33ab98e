"""The library's SQLite recorder with a position that is never reused and the hash chain beside each row.

Imports `storage.errors` and its neighbours of ours. A row and its link in the chain are written by one
transaction; no row leaves here that does not match its leaf.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Generator, Sequence
from itertools import islice, takewhile
from typing import Any
from uuid import UUID

from eventsourcing.persistence import Notification, StoredEvent
from eventsourcing.sqlite import SQLiteApplicationRecorder, SQLiteCursor

from catalog.log import tables
from catalog.log.chain import GENESIS, MAX_VERSION, ChainedRow, StoredRow, leaf_of, next_head, verified
from storage.errors import Conflict, Corrupt, Invalid


class ChainedRecorder(SQLiteApplicationRecorder):
    """Positions are 1, 2, 3 and so on, without a gap: a transaction that fails gives its positions back."""

    def _insert_events(self, c: SQLiteCursor, stored_events: Sequence[StoredEvent], **_: Any) -> Sequence[int]:
        spans = _spans(stored_events)
        positions = []
        for event in stored_events:
            c.execute(
                tables.INSERT_EVENT, (_text(event.originator_id), event.originator_version, event.topic, event.state)
            )
            positions.append(c.lastrowid)
        # The insert took the write lock, so from here to the commit nobody else can add a version or a head.
        for stream, (first, last) in spans.items():
            _advance(c, stream, first, last)
        _insert_links(c, stored_events, positions)
        return positions

    def rows_after(self, position: int, until: int | None = None) -> Generator[ChainedRow, None, None]:
        """The rows behind `position`, unverified, one at a time, from one moment's log."""
        last = MAX_VERSION if until is None else until
        with self.datastore.transaction(commit=False) as c:
            c.execute(tables.SELECT_LOG_ROWS, (position, last))
            while (row := c.fetchone()) is not None:
                yield ChainedRow(*row)

    def log_after(self, position: int) -> Generator[StoredRow, None, None]:
        """The verified rows behind `position`, one at a time; Corrupt at a gap or a row that was altered."""
        for row in self.rows_after(position):
            if row.position != position + 1:
                raise Corrupt(
                    f"the event at position {position + 1} is missing",
                    code="log-gap",
                    hint="restore the log from a copy",
                )
            position = row.position
            yield _trusted(row)

    def log_of(self, position: int, names: Collection[str]) -> Generator[StoredRow, None, None]:
        """The verified rows behind `position` whose topics have one of these names; others are not even read."""
        with self.datastore.transaction(commit=False) as c:
            c.execute(tables.SELECT_LOG_ROWS_OF, (position, "".join(f"|{name}/" for name in sorted(names))))
            while (row := c.fetchone()) is not None:
                yield _trusted(ChainedRow(*row))

    def stream_after(self, originator_id: UUID, version: int) -> Generator[StoredRow, None, None]:
        """The verified rows of one stream behind `version`, one at a time; Corrupt when a version is missing."""
        with self.datastore.transaction(commit=False) as c:
            last = _last_version(c, originator_id)
            c.execute(tables.SELECT_STREAM_ROWS, (originator_id.hex, version))
            while (row := c.fetchone()) is not None:
                version += 1
                stored = _trusted(ChainedRow(*row))
                if (stored.originator_id, stored.originator_version) != (originator_id, version):
                    raise _missing(originator_id, version)
                yield stored
            if version < last:
                raise _missing(originator_id, version + 1)

    def version(self, originator_id: UUID) -> int:
        """The last version of a stream, 0 when it is empty; Corrupt when the file's index tells another."""
        with self.datastore.transaction(commit=False) as c:
            return _last_version(c, originator_id)

    def known(self, streams: Collection[UUID]) -> set[UUID]:
        """Those of the streams that hold an event."""
        with self.datastore.transaction(commit=False) as c:
            c.execute(tables.SELECT_STREAMS, (json.dumps([_text(stream) for stream in streams]),))
            return {UUID(row[0]) for row in c.fetchall()}

    def last_link(self) -> tuple[int, bytes]:
        """The last position and the chain's head there."""
        with self.datastore.transaction(commit=False) as c:
            return _last_link(c)

    def head_at(self, position: int) -> bytes | None:
        """The chain's head at `position`, None when there is no such position."""
        if position == 0:
            return GENESIS
        (head,) = self.one(tables.HEAD_AT, position)
        return head if isinstance(head, bytes) else None

    def one(self, statement: str, *parameters: object) -> tuple[Any, ...]:
        """The first row of a statement that has one."""
        with self.datastore.transaction(commit=False) as c:
            c.execute(statement, parameters)
            return tuple(c.fetchone())

    def select_events(
        self,
        originator_id: UUID | str,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> Sequence[StoredEvent]:
        """The library's way to read a stream, over verified rows."""
        rows = self.stream_after(_uuid(originator_id), gt or 0)
        events = [StoredEvent(*row[1:]) for row in rows if lte is None or row.originator_version <= lte]
        return (events[::-1] if desc else events)[:limit]

    def select_notifications(
        self,
        start: int | None,
        limit: int,
        stop: int | None = None,
        topics: Sequence[str] = (),
        *,
        inclusive_of_start: bool = True,
    ) -> Sequence[Notification]:
        """The library's way to read the log, over verified rows."""
        after = max((start or 0) - inclusive_of_start, 0)
        rows = takewhile(lambda row: stop is None or row.position <= stop, self.log_after(after))
        wanted = (row for row in rows if not topics or row.topic in topics)
        return [Notification(*row[1:], id=row.position) for row in islice(wanted, limit)]


def _advance(c: SQLiteCursor, stream: str, first: int, last: int) -> None:
    c.execute(tables.SELECT_STREAM, (stream,))
    row = c.fetchone()
    held = row[0] if row else 0
    if held != first - 1:
        raise Conflict(f"version {first} of stream {UUID(stream)} does not follow version {held}", code="event-version")
    c.execute(tables.SET_STREAM, (stream, last))


def _insert_links(c: SQLiteCursor, stored_events: Sequence[StoredEvent], positions: Sequence[int]) -> None:
    last, head = _last_link(c)
    if last + 1 != positions[0]:
        raise Corrupt(
            f"the chain ends at position {last} and the log before {positions[0]}",
            code="log-tail",
            hint="nothing was recorded; verify the log",
        )
    links = []
    for position, event in zip(positions, stored_events, strict=True):
        leaf = leaf_of(_uuid(event.originator_id), event.originator_version, event.topic, event.state)
        head = next_head(head, leaf)
        links.append((position, leaf, head))
    c.executemany(tables.INSERT_LINK, links)


def _last_version(c: SQLiteCursor, originator_id: UUID) -> int:
    c.execute(tables.LAST_VERSION, {"id": originator_id.hex})
    recorded, indexed = c.fetchone()
    if recorded != indexed or not isinstance(recorded, int):
        raise Corrupt(
            f"stream {originator_id} ends at version {indexed}, and {recorded} was recorded",
            code="event-missing",
            hint="verify the log",
        )
    return recorded


def _last_link(c: SQLiteCursor) -> tuple[int, bytes]:
    c.execute(tables.LAST_LINK)
    row = c.fetchone()
    if row is None:
        return 0, GENESIS
    position, head, event = row
    if event is None or not isinstance(head, bytes) or len(head) != len(GENESIS):
        raise Corrupt(
            f"the event log has lost its end: the chain's last position {position} is not whole",
            code="log-tail",
            hint="verify the log",
        )
    return position, head


def _spans(stored_events: Sequence[StoredEvent]) -> dict[str, tuple[int, int]]:
    spans: dict[str, tuple[int, int]] = {}
    for event in stored_events:
        stream, version = _text(event.originator_id), event.originator_version
        if not 0 < version <= MAX_VERSION:
            raise Invalid(f"{version} is no version: they count from 1", code="event-version")
        first, last = spans.get(stream, (version, version - 1))
        if version != last + 1:
            raise Conflict(
                f"version {version} of stream {UUID(stream)} is out of order",
                code="event-version",
                why=f"version {last} came before it",
            )
        spans[stream] = (first, version)
    return spans


def _missing(originator_id: UUID, version: int) -> Corrupt:
    return Corrupt(
        f"version {version} of stream {originator_id} is missing", code="event-missing", hint="verify the log"
    )


def _trusted(row: ChainedRow) -> StoredRow:
    stored = verified(row)
    if stored is None:
        raise Corrupt(
            f"the event at position {row.position} is not the one that was recorded",
            code="event-altered",
            why="its bytes do not match their leaf in the chain",
            hint="restore the log from a copy",
        )
    return stored


def _uuid(identifier: UUID | str) -> UUID:
    return identifier if isinstance(identifier, UUID) else UUID(identifier)


def _text(identifier: UUID | str) -> str:
    return _uuid(identifier).hex

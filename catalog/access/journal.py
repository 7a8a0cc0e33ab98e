"""The record of who asked for what: durable before the answer leaves, or there is no answer.

May import `catalog.domain`, `catalog.log` and `storage`. Many threads wait while one of them saves for all in one
transaction: a commit syncs the disk, and one sync does for a hundred records. The log has each in the order it came.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from types import TracebackType
from typing import Any, Self
from uuid import UUID

from catalog.access.caller import Caller
from catalog.access.tokens import SECRET_IN_TEXT
from catalog.domain.access import AccessRecorded
from catalog.domain.ids import access_stream
from catalog.log import EventLog
from storage.errors import HoldfastError, Limit, Unavailable

MAX_WAITING = 1000
MAX_NAME = 300
MAX_TARGET = 4096
MAX_DETAIL = 16 * 1024
"""Characters kept of each; the mark of what was cut comes on top."""


@dataclass(frozen=True, slots=True)
class Access:
    """Who asked for what, from where, and the HTTP status of the answer."""

    caller: Caller
    operation: str
    target: str
    detail: str
    address: str
    status: int


@dataclass(slots=True)
class _Entry:
    """A record that waits: its fields, and what became of it."""

    fields: dict[str, Any]
    position: int | None = None
    failure: HoldfastError | None = None

    @property
    def settled(self) -> bool:
        return self.position is not None or self.failure is not None


class AccessJournal:
    """The stream of accesses of this process; `process_id` is a new identifier for each. Safe from many threads."""

    def __init__(self, log: EventLog, repository_id: UUID, process_id: UUID, clock: Callable[[], datetime]) -> None:
        self._log = log
        self._stream = access_stream(repository_id, process_id)
        self._clock = clock
        self._changed = threading.Condition()
        self._waiting: list[_Entry] = []
        self._saving = False
        self._closed = False

    def record(self, access: Access) -> int:
        """Record one access and return its position; it is durable then.

        Raises Unavailable when it could not be recorded, Limit when too many wait: the call must not be answered.
        """
        return self.record_all([access])[0]

    def record_all(self, accesses: Sequence[Access]) -> list[int]:
        """Record some accesses, all or none, and return their positions. Raises as `record` does."""
        entries = [_Entry(_fields(access)) for access in accesses]
        batch = self._join(entries)
        if batch:
            self._save(batch)
        return [_position(entry) for entry in entries]

    def close(self) -> None:
        """Take no more records, and return when those that were taken are settled."""
        with self._changed:
            self._closed = True
            self._changed.wait_for(lambda: not (self._waiting or self._saving))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _join(self, entries: list[_Entry]) -> list[_Entry]:
        """Queue entries. Return when another thread has settled them, or with all that this thread is to save."""
        with self._changed:
            if self._closed:
                raise _unrecorded("the journal is closed")
            if len(self._waiting) + len(entries) > MAX_WAITING:
                raise Limit(f"{MAX_WAITING} calls wait to be recorded", code="access-queue", hint="try again shortly")
            self._waiting += entries
            try:
                self._changed.wait_for(lambda: entries[-1].settled or not self._saving)
            except BaseException:
                # Nobody waits for them any more, and nobody may be left to save them.
                self._waiting = [other for other in self._waiting if all(other is not entry for entry in entries)]
                raise
            if entries[-1].settled:
                return []
            self._saving = True
            batch, self._waiting = self._waiting, []
            return batch

    def _save(self, batch: list[_Entry]) -> None:
        failure: HoldfastError = _unrecorded("saving was interrupted")
        last = 0
        try:
            last = self._save_events([entry.fields for entry in batch])
        except HoldfastError as error:
            failure = _unrecorded(f"the event log answers {error.code}")
            failure.__cause__ = error
        finally:
            with self._changed:
                for place, entry in enumerate(batch, start=1):
                    if last:
                        entry.position = last - len(batch) + place
                    else:
                        entry.failure = failure
                self._saving = False
                self._changed.notify_all()

    def _save_events(self, records: list[dict[str, Any]]) -> int:
        # Read each time: after a failure nobody knows whether the versions before were taken.
        version = self._log.version(self._stream)
        now = self._clock()
        return self._log.save(
            *(
                AccessRecorded(
                    originator_id=self._stream, originator_version=version + place, recorded_at=now, **fields
                )
                for place, fields in enumerate(records, start=1)
            )
        )


def _fields(access: Access) -> dict[str, Any]:
    return {
        "caller": capped(access.caller.name, MAX_NAME),
        "caller_kind": access.caller.kind,
        "role": access.caller.role.value,
        "operation": capped(access.operation, MAX_NAME),
        "target": capped(access.target, MAX_TARGET),
        "detail": capped(access.detail, MAX_DETAIL),
        "address": capped(access.address, MAX_NAME),
        "status": access.status,
    }


def _position(entry: _Entry) -> int:
    if entry.position is None:
        raise entry.failure or _unrecorded("saving was interrupted")
    return entry.position


def capped(text: str, most: int) -> str:
    """At most `most` characters of a text, and behind them how much was cut and the digest of the whole.

    Control characters stay what they are: this is data. What UTF-8 cannot carry is written out, and the secret of a
    token, which somebody put where it does not belong, is not kept.
    """
    whole = SECRET_IN_TEXT.sub(r"\1***", text).encode(errors="backslashreplace")
    kept = whole.decode()
    if len(kept) <= most:
        return kept
    return f"{kept[:most]}… [{len(kept) - most} characters more; SHA-256 of all: {sha256(whole).hexdigest()}]"


def _unrecorded(why: str) -> Unavailable:
    return Unavailable("the call could not be recorded, so it is not answered", code="access-unrecorded", why=why)

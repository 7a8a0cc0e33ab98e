"""The hash chain over recorded rows: what a leaf and a head are, and where a log first departs from them.

Pure; imports `storage.errors` of ours. Leaves and nodes are separated as in RFC 6962, section 2.1. A lost tail
looks like a shorter log, so it shows only against a head that was kept elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from struct import Struct
from typing import NamedTuple
from uuid import UUID

from storage.errors import Corrupt

GENESIS = bytes(32)
"""The head of an empty log."""

MAX_VERSION = 2**63 - 1
HEADER = Struct(">cQ16sQQQ")


class ChainedRow(NamedTuple):
    """One row as the database gave it: nothing in it can be trusted yet, the types included."""

    position: int
    originator_id: object
    originator_version: object
    topic: object
    state: object
    leaf: object
    head: object


class StoredRow(NamedTuple):
    """A row whose types are right and whose leaf verified."""

    position: int
    originator_id: UUID
    originator_version: int
    topic: str
    state: bytes


@dataclass(frozen=True, slots=True)
class ChainReport:
    """How far the chain holds: up to `position`, where its head is `head`.

    When `problem` is not empty, `bad_position` is the first position that does not verify.
    """

    events: int
    position: int
    head: bytes
    bad_position: int | None = None
    problem: str = ""

    @property
    def ok(self) -> bool:
        """Whether everything looked at verified."""
        return not self.problem


def leaf_of(originator_id: UUID, version: int, topic: str, state: bytes) -> bytes:
    """SHA-256 over 0x00 and the four fields, each behind its length as 8 bytes, big-endian."""
    name = topic.encode()
    leaf = sha256(HEADER.pack(b"\x00", 16, originator_id.bytes, 8, version, len(name)))
    leaf.update(name + len(state).to_bytes(8, "big"))
    leaf.update(state)
    return leaf.digest()


def next_head(head: bytes, leaf: bytes) -> bytes:
    """SHA-256 over 0x01, the head so far and the next leaf."""
    return sha256(b"\x01" + head + leaf).digest()


def typed(row: ChainedRow) -> StoredRow | None:
    """The row if its values can be an event's at all, verified or not."""
    originator_id = _uuid(row.originator_id)
    version, topic, state = row.originator_version, row.topic, row.state
    if originator_id is None or not isinstance(topic, str) or not isinstance(state, bytes):
        return None
    if not isinstance(version, int) or not 0 < version <= MAX_VERSION:
        return None
    return StoredRow(row.position, originator_id, version, topic, state)


def verified(row: ChainedRow) -> StoredRow | None:
    """The row if it is what was recorded, else None."""
    stored = typed(row)
    return stored if stored is not None and leaf_of(*stored[1:]) == row.leaf else None


def walk(rows: Iterable[ChainedRow], position: int, head: bytes) -> ChainReport:
    """Recompute the chain of the rows behind `position`, whose head is `head`; stop at the first fault.

    Rows that cannot be read (Corrupt) are a fault too.
    """
    events = 0
    try:
        for row in rows:
            stored = verified(row)
            problem = _fault(row, stored, position)
            expected = next_head(head, row.leaf) if isinstance(row.leaf, bytes) else head
            if not problem and row.head != expected:
                problem = "the head does not follow from the one before"
            if problem:
                return ChainReport(events, position, head, position + 1, problem)
            events, position, head = events + 1, row.position, expected
    except Corrupt as error:
        return ChainReport(events, position, head, position + 1, str(error))
    return ChainReport(events, position, head)


def _fault(row: ChainedRow, stored: StoredRow | None, position: int) -> str:
    if row.position != position + 1:
        return f"position {position + 1} is missing"
    if row.leaf is None:
        return "the event is not in the chain"
    return "" if stored else "the event is not the one that was recorded"


def _uuid(text: object) -> UUID | None:
    if not isinstance(text, str) or len(text) != 32:
        return None
    try:
        identifier = UUID(text)
    except ValueError:
        return None
    return identifier if identifier.hex == text else None

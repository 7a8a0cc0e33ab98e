"""Segments in an object store: which there are, writing one, reading one. Imports `catalog.log.chain` and `storage`.

A name tells the positions inside, so a listing is enough to know what is there. Segments are never changed; many small
neighbours become one, and only then they go.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from uuid import UUID

from catalog.log.chain import StoredRow
from catalog.segments.format import HEADER, MAX_SEGMENT_BYTES, Rows, Segment, open_segment, read_header, seal
from storage.errors import Conflict, Corrupt, NotFound
from storage.keys import KeyRing
from storage.objects.port import ObjectStore

PREFIX = "events/"
LOST = "lost/"
_NAME = re.compile(r"events/(\d{12})-(\d{12})\.seg")


@dataclass(frozen=True, slots=True)
class SegmentName:
    """A segment as a listing shows it."""

    name: str
    first: int
    last: int
    size_bytes: int


def names_in(objects: ObjectStore) -> list[SegmentName]:
    """The segments in a store, in the order of the log, of two that begin together the longer first."""
    found = []
    for stat in objects.list(PREFIX):
        if (match := _NAME.fullmatch(stat.name)) is not None:
            found.append(SegmentName(stat.name, int(match[1]), int(match[2]), stat.size_bytes))
    return sorted(found, key=lambda one: (one.first, -one.last))


def covering(names: Sequence[SegmentName], after: int = 0) -> Iterator[SegmentName]:
    """The segments to read, one after another, to get the rows behind `after`, as far as there is no gap."""
    while best := max((n for n in names if n.first <= after + 1 <= n.last), key=lambda n: n.last, default=None):
        yield best
        after = best.last


def require_head(objects: ObjectStore, name: SegmentName, head: bytes) -> None:
    """Raise Corrupt (log-fork) unless a segment says that it leads to `head`; its rows are not read."""
    buffer = bytearray(min(HEADER.size, name.size_bytes))
    objects.read_into(name.name, 0, memoryview(buffer))
    if read_header(bytes(buffer), name.name).head != head:
        raise Corrupt(
            f"segment {name.name} in the store is of another history than the log",
            code="log-fork",
            why="the log went on from an older copy, or two homes write to this store",
            hint="nothing was written. Make the log anew from the store, elsewhere: holdfast recover",
        )


class SegmentStore:
    """The segments of one repository."""

    def __init__(self, objects: ObjectStore, keys: KeyRing, repository_id: UUID | None) -> None:
        self._objects = objects
        self._keys = keys
        self._repository_id = repository_id

    def names(self) -> list[SegmentName]:
        """What is there; see `names_in`."""
        return names_in(self._objects)

    def write(self, rows: Rows, head_before: bytes, head: bytes) -> str:
        """Write consecutive rows durably; one that is there already under the same name is left as it is.

        Raises Corrupt (log-fork) when that one is of another history.
        """
        if self._repository_id is None:
            raise TypeError("segments are written for a repository")
        segment = Segment(self._repository_id, rows[0].position, rows[-1].position, head_before, head)
        name = f"{PREFIX}{segment.first:012d}-{segment.last:012d}.seg"
        header, body = seal(self._keys, segment, rows)
        try:
            self._objects.put(name, memoryview(header), memoryview(body))
        except Conflict:
            self.require_head(SegmentName(name, segment.first, segment.last, HEADER.size), head)
        return name

    def require_head(self, name: SegmentName, head: bytes) -> None:
        """See the function of that name."""
        require_head(self._objects, name, head)

    def read(self, name: SegmentName) -> tuple[Segment, list[StoredRow]]:
        """One segment, proven. Raises Corrupt, Denied (another key), NotFound."""
        if name.size_bytes > MAX_SEGMENT_BYTES:
            raise Corrupt(f"segment {name.name} is too large to be one", code="segment-damaged")
        buffer = bytearray(name.size_bytes)
        self._objects.read_into(name.name, 0, memoryview(buffer))
        segment, rows = open_segment(self._keys, bytes(buffer), name.name)
        if (segment.first, segment.last) != (name.first, name.last) or self._foreign(segment):
            raise Corrupt(f"segment {name.name} is not the one that its name says", code="segment-misplaced")
        return segment, rows

    def delete(self, name: SegmentName) -> None:
        """Remove a segment; one that somebody else removed is as good."""
        with suppress(NotFound):
            self._objects.delete(name.name)

    def set_aside(self, name: SegmentName) -> None:
        """Move a segment out of the way, to `lost/`, where it stays."""
        buffer = bytearray(name.size_bytes)
        self._objects.read_into(name.name, 0, memoryview(buffer))
        with suppress(Conflict):
            self._objects.put(LOST + name.name, memoryview(buffer))
        self.delete(name)

    def aside(self) -> list[str]:
        """The names of the segments that were set aside."""
        return [stat.name for stat in self._objects.list(LOST)]

    def _foreign(self, segment: Segment) -> bool:
        return self._repository_id is not None and segment.repository_id != self._repository_id

"""A directory as a volume: a tar archive that is nowhere but read at any offset, laid out so that it changes little.

Imports `ingest.agent` and `adapters`. The content of a large file begins at a block of the repository, and so do groups
of small ones that are told apart by their names: what changes in one place moves what follows by whole blocks at most.
The layout lives in a nameless file and two tables of 8 bytes a member, however many files there are.
"""

from __future__ import annotations

import os
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryFile

import msgspec
from blake3 import blake3

from adapters.errors import SourceInvalid
from adapters.image.images import file_error
from adapters.port import Extent
from ingest.agent.protocol import MAX_DISK_BYTES, LeftOut
from ingest.agent.tarform import BLOCK, PAD_LEAST, data_bytes, head_of, padding, paddings
from ingest.agent.troubles import Troubles
from ingest.agent.volume import Transport
from ingest.agent.walk import OPEN, Found, Walk

LEAST_BYTES = 64 << 20
GROUP_OF = 64
"""One small file in so many begins a group."""
END_BYTES = 2 * BLOCK


class Member(msgspec.Struct, frozen=True, array_like=True):
    """One file of the layout: padding, head and data begin one after the other at its place.

    `parts` are (offset, length) of the file that make up the data; `mark` is what the file was like.
    """

    name: bytes
    pad: int
    head: bytes
    parts: tuple[tuple[int, int], ...]
    mark: tuple[int, int, int, int, int] | None


class DirectoryVolume:
    """The files below `path`, as one disk called `key`. Its size has room to grow, so that it seldom changes."""

    transport: Transport = "directory"
    settled = False

    def __init__(self, key: str, path: Path, chunk_bytes: int, scratch: Path, *, live: bool) -> None:
        self.key = key
        self.live = live
        self._chunk_bytes = chunk_bytes
        self._starts = array("Q")
        self._places = array("Q")
        self._unreadable = Troubles()
        self._changed = Troubles()
        try:
            self._root = os.open(path, OPEN & ~os.O_NOFOLLOW | os.O_DIRECTORY)
        except OSError as error:
            raise file_error(path, error) from None
        self._index = TemporaryFile(dir=scratch, buffering=1 << 16)  # noqa: SIM115 - closed by `close`
        try:
            self.mounts = self._lay_out()
        except OSError as error:
            self.close()
            raise file_error(path, error) from None
        self._member = lru_cache(256)(self._read_member)

    def extents(self) -> Iterator[Extent]:
        """Yield the archive, and the room behind it."""
        used = min(-(-(self._end + END_BYTES) // self._chunk_bytes) * self._chunk_bytes, self.size_bytes)
        yield Extent(0, used, zero=False)
        if used < self.size_bytes:
            yield Extent(used, self.size_bytes - used, zero=True)

    def pread_into(self, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` with the archive as it was laid out; what a file has lost since is told by `confirm`."""
        if offset < 0 or offset + len(buffer) > self.size_bytes:
            raise SourceInvalid("A read is outside the archive", code="read-past-end")
        buffer[:] = bytes(len(buffer))
        number = max(bisect_right(self._starts, offset) - 1, 0)
        while number < len(self._starts) and self._starts[number] < min(offset + len(buffer), self._end):
            self._put_member(number, offset, buffer)
            number += 1

    def confirm(self) -> tuple[LeftOut, ...]:
        """Tell which files could not be read, and which changed since they were found."""
        for number in range(len(self._starts)):
            member = self._read_member(number)
            if member.mark is None:
                continue
            try:
                now = _mark(os.stat(member.name, dir_fd=self._root, follow_symlinks=False))
            except OSError as error:
                self._changed.add(member.name, error.strerror or "gone")
                continue
            if now != member.mark:
                self._changed.add(member.name, "it changed while it was read")
        found = (
            self._unreadable.told(
                f"{self.key}: files left out", "are not in it", "Run the agent as a user who may read them."
            ),
            self._changed.told(f"{self.key}: files that changed", "may not be whole in it", "Give --snapshot-command."),
        )
        return tuple(one for one in found if one is not None)

    def close(self) -> None:
        """Close what is open."""
        self._index.close()
        if self._root >= 0:
            os.close(self._root)
            self._root = -1

    def _lay_out(self) -> list[bytes]:
        walk = Walk(self._root, self._unreadable.add)
        encoder = msgspec.msgpack.Encoder()
        at = place = 0
        for found in walk.files():
            member = self._laid(found, at)
            self._starts.append(at)
            self._places.append(place)
            place += self._index.write(encoder.encode(member))
            at += member.pad + len(member.head) + _whole(data_bytes(found.facts))
        self._places.append(place)
        self._index.flush()
        self._end = at
        self.size_bytes = LEAST_BYTES
        while self.size_bytes < at + at // 4 + END_BYTES:
            self.size_bytes *= 2
        if self.size_bytes > MAX_DISK_BYTES:
            raise SourceInvalid(f"{self.key} is too large", code="agent-directory-size")
        return walk.mounts

    def _laid(self, found: Found, at: int) -> Member:
        facts = found.facts
        head, length = head_of(facts), data_bytes(facts)
        pad = 0
        if length >= self._chunk_bytes // 2:
            pad = self._pad(at + len(head))
        elif blake3(facts.name).digest(1)[0] % GROUP_OF == 0:
            pad = self._pad(at)
        parts: tuple[tuple[int, int], ...] = ()
        if facts.kind == b"0":
            parts = ((0, facts.size_bytes),) if facts.map is None else facts.map
        return Member(facts.name, pad, head, parts, _mark(found.status) if facts.kind == b"0" else None)

    def _pad(self, at: int) -> int:
        gap = -at % self._chunk_bytes
        return gap + self._chunk_bytes if 0 < gap < PAD_LEAST else gap

    def _read_member(self, number: int) -> Member:
        place, end = self._places[number], self._places[number + 1]
        return msgspec.msgpack.decode(os.pread(self._index.fileno(), end - place, place), type=Member)

    def _put_member(self, number: int, offset: int, buffer: memoryview) -> None:
        member = self._member(number)
        at = self._starts[number]
        for piece in paddings(member.pad):
            if at < offset + len(buffer) and at + piece > offset:
                _put(buffer, offset, at, padding(piece))
            at += piece
        _put(buffer, offset, at, member.head)
        at += len(member.head)
        for begin, length in member.parts:
            first, last = max(at, offset), min(at + length, offset + len(buffer))
            if first < last:
                self._put_file(member, begin + first - at, buffer[first - offset : last - offset])
            at += length

    def _put_file(self, member: Member, begin: int, buffer: memoryview) -> None:
        """Read a part of a file, if it is still the one that was found; what is not there is left zero, and told."""
        try:
            descriptor = os.open(member.name, OPEN, dir_fd=self._root)
        except OSError as error:
            self._changed.add(member.name, error.strerror or "gone")
            return
        try:
            status = os.fstat(descriptor)
            if member.mark is None or (status.st_dev, status.st_ino) != member.mark[:2]:
                self._changed.add(member.name, "another file took its place")
                return
            self._read(descriptor, begin, buffer)
        except OSError as error:
            self._changed.add(member.name, error.strerror or "unreadable")
        finally:
            with suppress(OSError):
                os.close(descriptor)

    def _read(self, descriptor: int, begin: int, buffer: memoryview) -> None:
        """A file that became shorter ends early here; `confirm` finds that it changed."""
        while buffer:
            count = os.preadv(descriptor, [buffer], begin)
            if not count:
                return
            buffer, begin = buffer[count:], begin + count


def _mark(status: os.stat_result) -> tuple[int, int, int, int, int]:
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _whole(length: int) -> int:
    return -(-length // BLOCK) * BLOCK


def _put(buffer: memoryview, offset: int, at: int, data: bytes) -> None:
    """Lay `data`, which stands at `at`, over a buffer that begins at `offset`."""
    first, last = max(at, offset), min(at + len(data), offset + len(buffer))
    if first < last:
        buffer[first - offset : last - offset] = data[first - at : last - at]

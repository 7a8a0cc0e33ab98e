"""What a VHDX file's log says about it, applied in memory: the file itself is never written.

Imports its own package only. The log is a ring of entries; the newest run of good entries that reaches back to the
tail which its last entry names is what counts. What follows a torn entry never happened.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID

from adapters.errors import SourceLimit
from adapters.virtualdisk.damage import damaged, part
from adapters.virtualdisk.file import RandomFile
from adapters.virtualdisk.overlay import Overlay
from adapters.virtualdisk.vhdxheaders import MIB, Header, checksum_is_right

_PAGE = 4 << 10
_ENTRY = struct.Struct("<4s4xIIQI4x16sQQ")
_DESCRIPTOR = struct.Struct("<4s4sQQQ")
_MOST_BYTES = 64 * MIB
_MOST_WRITES = 1 << 17
_MOST_CHECKED = 16  # times the log's length, for entries that claim to overlap


@dataclass(frozen=True, slots=True)
class _Entry:
    """A good entry: its offset in the log, and how the file's size was when it was written."""

    offset: int
    length: int
    tail: int
    sequence: int
    descriptors: int
    flushed_bytes: int
    file_bytes: int


@dataclass(frozen=True, slots=True)
class _Write:
    """One descriptor: `data` is None for zeros."""

    offset: int
    length: int
    data: bytes | None


def replayed(file: RandomFile, header: Header, path: str) -> RandomFile:
    """Return the file as it is once its log was applied. Raises SourceCorrupt, SourceLimit for a log too large."""
    if header.log_guid is None:
        return file
    log = header.log
    if log.offset % MIB or log.offset < MIB or log.length % MIB or not log.length:
        raise damaged(path, "vhdx-log", f"its log is at {log.offset}, {log.length} bytes long")
    if log.length > _MOST_BYTES:
        raise SourceLimit(f"The log of {path} is too large", code="vhdx-log", why=f"it has {log.length} bytes")
    entries = _Log(part(file, path, log.offset, log.length, "vhdx-log"), header.log_guid, path)
    active = entries.active()
    if active[-1].flushed_bytes > file.size_bytes:
        raise damaged(path, "vhdx-log", f"it had {active[-1].flushed_bytes} bytes, and is cut to {file.size_bytes}")
    if sum(entry.descriptors for entry in active) > _MOST_WRITES:
        raise SourceLimit(f"The log of {path} has too many writes", code="vhdx-log", why=f"more than {_MOST_WRITES}")
    overlay = Overlay(file, max(entry.file_bytes for entry in active))
    for entry in active:
        for write in entries.writes(entry):
            if write.offset + write.length > overlay.size_bytes:
                raise damaged(path, "vhdx-log", f"its log writes at {write.offset}, behind the file's end")
            overlay.put(write.offset, write.length, write.data)
    return overlay


class _Log:
    """The log's bytes, as a ring."""

    def __init__(self, content: bytes, guid: UUID, path: str) -> None:
        self._content = content
        self._guid = guid.bytes_le
        self._path = path
        self._known: dict[int, _Entry | None] = {}
        self._checked = 0

    def active(self) -> list[_Entry]:
        """Return the entries to apply, in order. Raises SourceCorrupt when there are none."""
        best: list[_Entry] = []
        position = 0
        while position < len(self._content):
            run = self._run(position)
            if not run:
                position += _PAGE
                continue
            tails = [number for number, entry in enumerate(run) if entry.offset == run[-1].tail]
            # A part of a run that does not reach its tail does not either: the next one begins behind it.
            if tails and (not best or run[-1].sequence > best[-1].sequence):
                best = run[tails[0] :]
            after = run[-1].offset + run[-1].length
            if run[-1].offset < position or after > len(self._content):
                break  # it went round
            position = after
        if not best:
            raise damaged(self._path, "vhdx-log", "it was not closed, and its log holds no whole sequence of entries")
        return best

    def writes(self, entry: _Entry) -> Iterator[_Write]:
        """Yield what a good entry writes, in order."""
        data_at = entry.offset + _descriptor_bytes(entry.descriptors)
        for number in range(entry.descriptors):
            raw = self._slice(entry.offset + _ENTRY.size + number * _DESCRIPTOR.size, _DESCRIPTOR.size)
            kind, trailing, leading, offset, _ = _DESCRIPTOR.unpack(raw)
            if kind == b"zero":
                yield _Write(offset, leading, None)
                continue
            page = self._slice(data_at, _PAGE)
            yield _Write(offset, _PAGE, raw[8:16] + page[8:-4] + trailing)
            data_at += _PAGE

    def _run(self, position: int) -> list[_Entry]:
        """The good entries from `position` on, each the successor of the one before."""
        run: list[_Entry] = []
        while True:
            entry = self._entry(position)
            if entry is None or (run and entry.sequence != run[-1].sequence + 1):
                return run
            run.append(entry)
            position = (position + entry.length) % len(self._content)

    def _entry(self, offset: int) -> _Entry | None:
        if offset not in self._known:
            self._known[offset] = self._checked_entry(offset)
        return self._known[offset]

    def _checked_entry(self, offset: int) -> _Entry | None:
        signature, length, tail, sequence, count, guid, flushed, file_bytes = _ENTRY.unpack(
            self._slice(offset, _ENTRY.size)
        )
        if signature != b"loge" or guid != self._guid or not sequence:
            return None
        if length % _PAGE or not 0 < length <= len(self._content) or tail % _PAGE or tail >= len(self._content):
            return None
        if _descriptor_bytes(count) > length:
            return None
        self._checked += length
        if self._checked > _MOST_CHECKED * len(self._content):
            raise damaged(self._path, "vhdx-log", "the entries of its log overlap")
        if not checksum_is_right(self._slice(offset, length)):
            return None
        entry = _Entry(offset, length, tail, sequence, count, flushed, file_bytes)
        return entry if self._is_whole(entry) else None

    def _is_whole(self, entry: _Entry) -> bool:
        """Say whether every descriptor and page of data belongs to the entry."""
        data_at = _descriptor_bytes(entry.descriptors)
        for number in range(entry.descriptors):
            raw = self._slice(entry.offset + _ENTRY.size + number * _DESCRIPTOR.size, _DESCRIPTOR.size)
            kind, _, leading, offset, sequence = _DESCRIPTOR.unpack(raw)
            if sequence != entry.sequence or offset % _PAGE:
                return False
            if kind == b"zero":
                if leading % _PAGE:
                    return False
                continue
            if kind != b"desc" or data_at >= entry.length:
                return False
            page = self._slice(entry.offset + data_at, _PAGE)
            data_at += _PAGE
            if page[:4] != b"data" or page[4:8] + page[-4:] != _halves(entry.sequence):
                return False
        return data_at == entry.length

    def _slice(self, offset: int, length: int) -> bytes:
        offset %= len(self._content)
        end = offset + length
        if end <= len(self._content):
            return self._content[offset:end]
        return self._content[offset:] + self._content[: end - len(self._content)]


def _descriptor_bytes(count: int) -> int:
    """How much of an entry its head and descriptors take, in whole pages."""
    return -(-(_ENTRY.size + count * _DESCRIPTOR.size) // _PAGE) * _PAGE


def _halves(sequence: int) -> bytes:
    return struct.pack("<II", sequence >> 32, sequence & 0xFFFFFFFF)

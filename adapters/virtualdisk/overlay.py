"""A file with changes that exist in memory only: what a log says about it. Imports `adapters.virtualdisk` only."""

from __future__ import annotations

from bisect import bisect_right

from adapters.virtualdisk.file import RandomFile

_Change = tuple[int, int, bytes | None]


class Overlay:
    """A RandomFile over another one; `size_bytes` may be larger, and what is between then reads as zeros.

    `put` is for the time before it is shared; reads are safe from several threads.
    """

    def __init__(self, file: RandomFile, size_bytes: int) -> None:
        self.size_bytes = max(size_bytes, file.size_bytes)
        self._file = file
        self._starts: list[int] = []
        self._changes: list[_Change] = []  # start, end, bytes or None for zeros; in order, not overlapping

    def put(self, start: int, length: int, data: bytes | None) -> None:
        """Let `length` bytes at `start` be `data`, zeros when that is None; a later change hides earlier ones."""
        end = start + length
        first = bisect_right(self._starts, start)
        if first and self._changes[first - 1][1] > start:
            first -= 1
        last = bisect_right(self._starts, end - 1)
        fresh: list[_Change] = [(start, end, data)]
        for change in self._changes[first:last]:
            if change[0] < start:
                fresh.insert(0, _cut(change, change[0], start))
            if change[1] > end:
                fresh.append(_cut(change, end, change[1]))
        self._changes[first:last] = fresh
        self._starts[first:last] = [change[0] for change in fresh]

    def pread_into(self, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` with what the file would hold."""
        end = offset + len(buffer)
        there = max(0, min(end, self._file.size_bytes) - offset)
        if there:
            self._file.pread_into(offset, buffer[:there])
        if there < len(buffer):
            buffer[there:] = bytes(len(buffer) - there)
        at = max(bisect_right(self._starts, offset) - 1, 0)
        while at < len(self._changes) and self._changes[at][0] < end:
            start, stop, data = self._changes[at]
            at += 1
            if stop <= offset:
                continue
            first, last = max(start, offset), min(stop, end)
            piece = bytes(last - first) if data is None else data[first - start : last - start]
            buffer[first - offset : last - offset] = piece

    def close(self) -> None:
        """Close the file beneath."""
        self._file.close()


def _cut(change: _Change, start: int, end: int) -> _Change:
    data = change[2]
    return start, end, None if data is None else data[start - change[0] : end - change[0]]

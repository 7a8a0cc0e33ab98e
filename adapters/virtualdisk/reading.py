"""Reads runs of several files into one buffer, with few reads of each file. Imports its own package only.

Short gaps between pieces of one file are read too and thrown away where a further request costs more. So a chain with
changes strewn over it is read in pieces of up to 4 MiB, and what lies contiguous goes as one.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from adapters.virtualdisk.file import RandomFile
from adapters.virtualdisk.runs import ZERO, Runs

NETWORK_GAP_BYTES = 64 << 10
LOCAL_GAP_BYTES = 8 << 10
_MOST_BYTES = 4 << 20


@dataclass(slots=True)
class _Request:
    """One read of a file: its range, and which pieces of it go where (place in the buffer, file offset, length)."""

    start: int
    end: int
    pieces: list[tuple[int, int, int]] = field(default_factory=list)

    def takes(self, offset: int, length: int, gap_bytes: int) -> bool:
        """Say whether a further piece fits."""
        return 0 <= offset - self.end <= gap_bytes and offset + length - self.start <= _MOST_BYTES

    def read(self, file: RandomFile, buffer: memoryview) -> None:
        """Fill the pieces."""
        if len(self.pieces) == 1:
            place, _, length = self.pieces[0]
            file.pread_into(self.start, buffer[place : place + length])
            return
        scratch = memoryview(bytearray(self.end - self.start))
        file.pread_into(self.start, scratch)
        for place, offset, length in self.pieces:
            at = offset - self.start
            buffer[place : place + length] = scratch[at : at + length]


class Pieces:
    """The runs of a window of the disk, in lists: many reads share one look-up of tables and bitmaps."""

    def __init__(self, runs: Runs) -> None:
        self._starts: list[int] = runs.starts.tolist()
        self._ends: list[int] = [*self._starts[1:], runs.end]
        self._sources: list[int] = runs.sources.tolist()
        self._offsets: list[int] = runs.offsets.tolist()

    def read(self, start: int, files: Sequence[RandomFile], buffer: memoryview, gap_bytes: int) -> None:
        """Fill `buffer` from `start` of the disk, all of which is in the window. Raises what the files do."""
        end = start + len(buffer)
        waiting: dict[int, _Request] = {}
        position = start
        at = bisect_right(self._starts, start) - 1
        while position < end:
            stop = min(self._ends[at], end)
            place, length, source = position - start, stop - position, self._sources[at]
            if source == ZERO:
                np.frombuffer(buffer, dtype=np.uint8)[place : place + length] = 0
            else:
                offset = self._offsets[at] + position - self._starts[at]
                request = waiting.get(source)
                if request is None or not request.takes(offset, length, gap_bytes):
                    if request is not None:
                        request.read(files[source], buffer)
                    request = waiting[source] = _Request(offset, offset)
                request.pieces.append((place, offset, length))
                request.end = offset + length
            position = stop
            at += 1
        for source, request in waiting.items():
            request.read(files[source], buffer)

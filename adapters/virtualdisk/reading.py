"""Reads runs of several files into one buffer, with few reads of each file. Imports its own package only.

Short gaps between pieces of one file are read too and thrown away, where a further request costs more. The deepest file
comes first and is read right over its gaps, as whatever belongs there is put on top afterwards; what is strewn over the
files above it goes through a buffer of its own.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from adapters.virtualdisk.file import RandomFile
from adapters.virtualdisk.runs import OWN, ZERO, Numbers, Runs

NETWORK_GAP_BYTES = 64 << 10
LOCAL_GAP_BYTES = 8 << 10

Piece = tuple[int, int]
"""Start and end in the disk."""


@dataclass(frozen=True, slots=True)
class _Source:
    """What one file, or ZERO, has of a window: requests in order, each at a fixed `distance` to the file's offsets.

    `pieces` are those of a request with gaps that must not reach the buffer, None for one that may go straight there.
    """

    number: int
    starts: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    distances: list[int] = field(default_factory=list)
    pieces: list[list[Piece] | None] = field(default_factory=list)

    def within(self, start: int, end: int) -> Iterator[tuple[int, int, int]]:
        """The requests that touch a range, cut to it: number, start and end."""
        at = bisect_right(self.ends, start)
        while at < len(self.starts) and self.starts[at] < end:
            yield at, max(self.starts[at], start), min(self.ends[at], end)
            at += 1


class Window:
    """The runs of a part of the disk, ready to be read: many reads share one look-up of tables and bitmaps."""

    def __init__(self, runs: Runs, gap_bytes: int) -> None:
        numbers = sorted(set(runs.sources.tolist()) - {ZERO}, reverse=True)
        ends = np.append(runs.starts[1:], runs.end)
        self._files = [_requests(runs, ends, number, gap_bytes, direct=number == numbers[0]) for number in numbers]
        self._zeros = _requests(runs, ends, ZERO, 0, direct=True)

    def read(self, start: int, files: Sequence[RandomFile], buffer: memoryview) -> None:
        """Fill `buffer` from `start` of the disk, all of which is in the window. Raises what the files do."""
        end = start + len(buffer)
        for source in self._files:
            file = files[source.number]
            for at, first, last in source.within(start, end):
                offset, pieces = first + source.distances[at], source.pieces[at]
                if pieces is None:
                    file.pread_into(offset, buffer[first - start : last - start])
                    continue
                scratch = memoryview(bytearray(last - first))
                file.pread_into(offset, scratch)
                for begin, stop in pieces:
                    low, high = max(begin, first), min(stop, last)
                    if low < high:
                        buffer[low - start : high - start] = scratch[low - first : high - first]
        for _, first, last in self._zeros.within(start, end):
            np.frombuffer(buffer, dtype=np.uint8)[first - start : last - start] = 0


def _requests(runs: Runs, ends: Numbers, number: int, gap_bytes: int, *, direct: bool) -> _Source:
    """Put the runs of one source together across gaps."""
    chosen = np.flatnonzero(runs.sources == number)
    found = _Source(number)
    if not chosen.size:
        return found
    starts, stops = runs.starts[chosen], ends[chosen]
    distances = runs.offsets[chosen] - starts if number >= OWN else np.zeros_like(starts)
    together = (starts[1:] - stops[:-1] <= gap_bytes) & (distances[1:] == distances[:-1])
    firsts = np.concatenate([np.zeros(1, dtype=np.int64), np.flatnonzero(~together) + 1])
    lasts = np.append(firsts[1:], chosen.size) - 1
    found.starts.extend(starts[firsts].tolist())
    found.ends.extend(stops[lasts].tolist())
    found.distances.extend(distances[firsts].tolist())
    for first, last in zip(firsts.tolist(), lasts.tolist(), strict=True):
        if direct or first == last:
            found.pieces.append(None)
        else:
            inside = slice(first, last + 1)
            found.pieces.append(list(zip(starts[inside].tolist(), stops[inside].tolist(), strict=True)))
    return found

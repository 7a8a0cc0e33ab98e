"""Reads runs into one buffer with as few reads of each file as is sensible. Imports `adapters.virtualdisk` only.

Short gaps between pieces of one file are read too and thrown away: over a network a further request costs more. So a
chain with changes strewn over it is read in pieces of up to 4 MiB, and what lies contiguous goes as one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from adapters.virtualdisk.file import RandomFile
from adapters.virtualdisk.runs import ZERO, Runs

_GAP_BYTES = 64 << 10
_MOST_BYTES = 4 << 20


@dataclass(slots=True)
class _Request:
    """One read of a file: its range, and which pieces of it go where (place in the buffer, file offset, length)."""

    start: int
    end: int
    pieces: list[tuple[int, int, int]] = field(default_factory=list)

    def takes(self, offset: int, length: int) -> bool:
        """Say whether a further piece fits."""
        return 0 <= offset - self.end <= _GAP_BYTES and offset + length - self.start <= _MOST_BYTES

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


def read_runs(runs: Runs, files: Sequence[RandomFile], buffer: memoryview) -> None:
    """Fill `buffer`, which is as long as the runs together. Raises what the files do."""
    target = np.frombuffer(buffer, dtype=np.uint8)
    places = (runs.starts - runs.starts[0]).tolist()
    lengths = np.diff(runs.starts, append=runs.end).tolist()
    waiting: dict[int, _Request] = {}
    for place, length, source, offset in zip(
        places, lengths, runs.sources.tolist(), runs.offsets.tolist(), strict=True
    ):
        if source == ZERO:
            target[place : place + length] = 0
            continue
        request = waiting.get(source)
        if request is None or not request.takes(offset, length):
            if request is not None:
                request.read(files[source], buffer)
            request = waiting[source] = _Request(offset, offset)
        request.pieces.append((place, offset, length))
        request.end = offset + length
    for source, request in waiting.items():
        request.read(files[source], buffer)

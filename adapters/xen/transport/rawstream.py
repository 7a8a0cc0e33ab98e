"""A raw disk as it arrives: as many bytes as the disk has, or an error. Imports `adapters` only."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from adapters.errors import SourceCorrupt
from adapters.port import Extent

EXPORT_CUT = "export-cut"
_PIECE = 4 << 20


def decode_raw(
    read: Callable[[int], bytes], write: Callable[[int, memoryview], None], size_bytes: int, name: str
) -> Iterator[Extent]:
    """Yield the disk in order, gapless, each part once it was written; parts that are zeros are not.

    Raises SourceCorrupt for a stream that is cut, or longer than the disk; after the last extent, too.
    """
    position = 0
    while position < size_bytes:
        piece = bytearray()
        while len(piece) < min(_PIECE, size_bytes - position):
            more = read(min(_PIECE, size_bytes - position) - len(piece))
            if not more:
                raise cut_short(name, position + len(piece))
            piece += more
        zero = not np.frombuffer(piece, np.uint8).any()
        if not zero:
            write(position, memoryview(piece))
        yield Extent(position, len(piece), zero)
        position += len(piece)
    if read(1):
        raise SourceCorrupt(
            f"The exported stream of {name} is not whole",
            code="export-malformed",
            why=f"it goes on after the disk's {size_bytes} bytes",
        )


def cut_short(name: str, received_bytes: int) -> SourceCorrupt:
    """Build the error of a stream that ends where more must come; the pool may know why."""
    return SourceCorrupt(
        f"The exported stream of {name} is not whole", code=EXPORT_CUT, why=f"it ends after {received_bytes} bytes"
    )

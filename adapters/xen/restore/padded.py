"""An image in a disk that its storage made a little larger. Imports `adapters.port` only."""

from __future__ import annotations

from collections.abc import Iterator

from adapters.port import DiskImage, Extent


class Padded:
    """`image`, and zeros behind it up to `size_bytes`."""

    def __init__(self, image: DiskImage, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        self._image = image

    def extents(self) -> Iterator[Extent]:
        """Yield the whole disk in order, gapless."""
        yield from self._image.extents()
        if behind := self.size_bytes - self._image.size_bytes:
            yield Extent(self._image.size_bytes, behind, zero=True)

    def pread_into(self, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` from `offset`."""
        within = max(0, min(len(buffer), self._image.size_bytes - offset))
        if within:
            self._image.pread_into(offset, buffer[:within])
        buffer[within:] = bytes(len(buffer) - within)

"""The changed extents of a frozen disk, for those who go through them one after the other.

Imports `adapters.port`. A walk over a source's change tracking costs time by the size of the disk, so few extents
are kept from the first whole pass; very many are asked for again, so that memory stays bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from adapters.port import Extent

KEPT_EXTENTS = 100_000


class KeptChanges:
    """Iterable as often as wanted; `changes` asks the source, and its answer does not change."""

    def __init__(self, changes: Callable[[], Iterable[Extent]], *, at_most: int = KEPT_EXTENTS) -> None:
        self._changes = changes
        self._at_most = at_most
        self._kept: list[Extent] | None = None

    def __iter__(self) -> Iterator[Extent]:
        if self._kept is not None:
            yield from self._kept
            return
        kept: list[Extent] = []
        fits = True
        for extent in self._changes():
            fits = fits and len(kept) < self._at_most
            if fits:
                kept.append(extent)
            yield extent
        if fits:
            self._kept = kept

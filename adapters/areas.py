"""What a hypervisor says that changed: asked for page by page, checked, and kept in little memory.

Pure; imports `adapters.port`. A wrong answer that is used silently is lost data, so a page is taken only when it begins
where it was asked for, moves on, and stays within the disk. Areas may overlap and come in any order within their page:
what counts is what they cover together. More areas than fit are joined across small gaps, since reading what did
not change is allowed and leaving out what did is not.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from adapters.port import Extent

MOST_AREAS = 1 << 20
_FIRST_GAP_BYTES = 1 << 20

Area = tuple[int, int]
"""Start and length in bytes."""


@dataclass(frozen=True, slots=True)
class Page:
    """One answer: the areas within `length` bytes from `start` on."""

    start: int
    length: int
    areas: Iterable[Area]


class WrongAnswer(Exception):
    """The server's answer breaks its own contract; `cause` is a stable code."""

    def __init__(self, cause: str, why: str) -> None:
        super().__init__(why)
        self.cause = cause


class AreaList:
    """Areas in order, neither overlapping nor touching, 16 bytes each; at most `limit` of them."""

    def __init__(self, limit: int = MOST_AREAS) -> None:
        self._starts = array("Q")
        self._ends = array("Q")
        self._limit = limit
        self._gap = 0

    def __len__(self) -> int:
        return len(self._starts)

    def __iter__(self) -> Iterator[Area]:
        for start, end in zip(self._starts, self._ends, strict=True):
            yield start, end - start

    @property
    def covered_bytes(self) -> int:
        """How many bytes the areas cover together."""
        return sum(length for _, length in self)

    def add(self, start: int, end: int) -> None:
        """Append an area. One that begins before the last ones takes them in, with what is between them."""
        while self._starts and start < self._starts[-1]:
            self._starts.pop()
            end = max(end, self._ends.pop())
        if self._ends and start <= self._ends[-1] + self._gap:
            self._ends[-1] = max(self._ends[-1], end)
            return
        self._starts.append(start)
        self._ends.append(end)
        if len(self._starts) > self._limit:
            self._coarsen()

    def _coarsen(self) -> None:
        """Join areas across ever larger gaps until half of the room is free."""
        while len(self._starts) > self._limit // 2:
            self._gap = max(_FIRST_GAP_BYTES, 2 * self._gap)
            starts, ends = self._starts, self._ends
            self._starts, self._ends = array("Q"), array("Q")
            for start, end in zip(starts, ends, strict=True):
                if self._ends and start <= self._ends[-1] + self._gap:
                    self._ends[-1] = max(self._ends[-1], end)
                else:
                    self._starts.append(start)
                    self._ends.append(end)


def collect_areas(query: Callable[[int], Page], size_bytes: int, *, limit: int = MOST_AREAS) -> AreaList:
    """Ask `query` from offset 0 on until the disk of `size_bytes` is covered. Raises WrongAnswer."""
    found = AreaList(limit)
    position = 0
    while position < size_bytes:
        page = query(position)
        end = _page_end(page, position, size_bytes)
        for start, stop in sorted(_checked(page, end, size_bytes)):
            found.add(start, stop)
        position = end
    return found


def _page_end(page: Page, asked: int, size_bytes: int) -> int:
    if page.start != asked:
        raise WrongAnswer(
            "tracking-answer-misplaced", f"asked from byte {asked} on, the answer is from {page.start} on"
        )
    if page.length <= 0:
        raise WrongAnswer("tracking-answer-empty", f"the answer covers {page.length} bytes from {asked} on")
    return min(page.start + page.length, size_bytes)


def _checked(page: Page, end: int, size_bytes: int) -> Iterator[Area]:
    """The start and end of each area; an area may be rounded up beyond the disk's end, and is cut there."""
    for start, length in page.areas:
        if length <= 0 or start < page.start or start >= end:
            raise WrongAnswer(
                "tracking-answer-outside",
                f"an area of {length} bytes at {start} is not within the answer from {page.start} to {end}",
            )
        if start + length > end and end < size_bytes:
            raise WrongAnswer("tracking-answer-outside", f"the area at {start} ends behind its answer's end at {end}")
        yield start, min(start + length, end)


def cut(spans: Iterable[Area], extents: Iterable[Extent]) -> Iterator[Extent]:
    """Yield the parts of `extents`, which cover the disk in order, that lie in `spans`, which are in order."""
    whole = iter(extents)
    extent = next(whole, None)
    for start, length in spans:
        position, end = start, start + length
        while position < end:
            while extent is not None and extent.end <= position:
                extent = next(whole, None)
            if extent is None:
                yield Extent(position, end - position, zero=False)
                break
            stop = min(end, extent.end)
            yield Extent(position, stop - position, extent.zero)
            position = stop

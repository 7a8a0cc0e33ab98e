"""What changed on one frozen disk since a reference point. Imports the shared modules of `adapters` and `facts`.

The host may process less than it was asked for, so it is asked until the disk is covered. Its ranges come in any order,
overlap, and may reach over what was processed: then all of it counts, since reading too much is allowed. There are
reports of hosts that refuse a question about a whole disk: then all but its last sector is asked for. An answer that
breaks even these rules, or that the host refuses again, costs this disk a full, no more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from adapters.areas import AreaList, WrongAnswer
from adapters.errors import AdapterError, SourceUnavailable
from adapters.hyperv.facts import ChangePage
from adapters.port import Tracked, Untracked

_SECTOR_BYTES = 4096
"""Of the disks with the largest sectors."""

AskChanges = Callable[[int, int], ChangePage]
"""Asks for the changes within (offset, length)."""


def changed_areas(ask: AskChanges, size_bytes: int) -> tuple[Tracked | Untracked, AreaList]:
    """Ask for the changes of a whole disk. Raises SourceUnavailable when the connection is lost."""
    try:
        return Tracked(), _collect(ask, size_bytes)
    except WrongAnswer as wrong:
        return Untracked(wrong.cause), AreaList()
    except SourceUnavailable:
        raise
    except AdapterError:
        return Untracked("tracking-refused"), AreaList()


def _collect(ask: AskChanges, size_bytes: int) -> AreaList:
    found = AreaList()
    position = 0
    while position < size_bytes:
        page = ask(position, size_bytes - position) if position else _first(ask, size_bytes)
        if page.processed <= 0:
            raise WrongAnswer("tracking-answer-empty", f"the answer covers {page.processed} bytes from {position} on")
        end = position + page.processed
        for start, stop in sorted(_checked(page, position, end)):
            found.add(start, min(stop, size_bytes))
        position = end
    return found


def _first(ask: AskChanges, size_bytes: int) -> ChangePage:
    try:
        return ask(0, size_bytes)
    except SourceUnavailable:
        raise
    except AdapterError:
        if size_bytes <= _SECTOR_BYTES:
            raise
        return ask(0, size_bytes - _SECTOR_BYTES)


def _checked(page: ChangePage, start: int, end: int) -> Iterator[tuple[int, int]]:
    """The start and end of each range. One that is wholly elsewhere shows that the answer means something else."""
    for offset, length in page.ranges:
        if length <= 0 or offset < 0 or offset >= end or offset + length <= start:
            raise WrongAnswer(
                "tracking-answer-outside", f"a range of {length} bytes at {offset} is not within {start} to {end}"
            )
        yield offset, offset + length

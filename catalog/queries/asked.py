"""How every question is asked and every list answered: scope, position, keyset pages. Imports `catalog.access`.

An answer is of one log position. Asked again at that position, now or in a year, it is the same; so whoever turns
pages passes the first page's `position` as `as_of` of the next.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from catalog.access.caller import Scope
from storage.errors import Invalid

MAX_LIMIT = 1000

Key = tuple[str | int, ...]
Row = TypeVar("Row")
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Asked:
    """`as_of`: a log position, None for the newest; `after`: `Page.next` of the page before; `limit`: rows a page."""

    scope: Scope
    as_of: int | None = None
    limit: int = 100
    after: Key | None = None

    def __post_init__(self) -> None:
        if not 0 < self.limit <= MAX_LIMIT:
            raise Invalid(f"{self.limit} is no limit from 1 to {MAX_LIMIT}", code="page-limit")


@dataclass(frozen=True, slots=True)
class Page(Generic[Row]):
    """Some rows in order; `next` is None behind the last, `position` is what the answer is of."""

    rows: tuple[Row, ...]
    next: Key | None
    position: int


def page(
    asked: Asked,
    position: int,
    items: Sequence[Item],
    key: Callable[[Item], Key],
    row: Callable[[Item], Row],
) -> Page[Row]:
    """The page of `items`, which ascend by `key`; only the rows of the page are made. Raises Invalid."""
    start = 0
    if asked.after is not None:
        try:
            start = bisect_right(items, asked.after, key=key)
        except TypeError as error:
            raise bad_cursor() from error
    some = items[start : start + asked.limit]
    more = start + len(some) < len(items)
    return Page(tuple(row(item) for item in some), key(some[-1]) if more else None, position)


def after_number(asked: Asked) -> int | None:
    """The cursor of a list that is in the order of one number. Raises Invalid."""
    if asked.after is None:
        return None
    if len(asked.after) != 1 or not isinstance(asked.after[0], int):
        raise bad_cursor()
    return asked.after[0]


def bad_cursor() -> Invalid:
    """The cursor is of another list."""
    return Invalid("the cursor is not of this list", code="page-cursor", hint="pass on `next` as it was given")

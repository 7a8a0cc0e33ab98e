"""`--as-of`: a log position, or a time, of which it takes the last position known then. Imports `catalog.queries`."""

from __future__ import annotations

from datetime import UTC, datetime

from catalog.queries.positions import position_at
from storage.errors import Invalid
from storage.lake import Lake


def position_of(lake: Lake, text: str) -> int:
    """The position that `text` means. Raises Invalid when it is neither a number nor an RFC 3339 time."""
    if text.isascii() and text.isdecimal():
        return int(text)
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        when = None
    if when is None or when.tzinfo is None:
        raise Invalid(
            f"{text!r} is neither a position nor a time",
            code="as-of-invalid",
            hint="--as-of 1234, or --as-of 2026-01-31T12:00:00Z",
        )
    return position_at(lake, when.astimezone(UTC), lake.position())

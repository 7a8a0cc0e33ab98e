"""`--as-of`: a log position, or a time, of which it takes the last position known then. Imports `storage`."""

from __future__ import annotations

from datetime import UTC, datetime

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
    return position_at(lake, when.astimezone(UTC))


def position_at(lake: Lake, when: datetime) -> int:
    """The greatest position up to which every event was recorded at `when` or before."""
    first_later = lake.position() + 1
    for batch in lake.read("events", ["position", "recorded_at"], where={"recorded_at": (when, None)}):
        for row in batch.to_pylist():
            if row["recorded_at"] > when:
                first_later = min(first_later, row["position"])
    return first_later - 1

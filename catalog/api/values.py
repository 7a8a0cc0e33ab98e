"""Times, days and durations as callers write them. Imports pydantic and `storage.errors`.

Pydantic alone would take numbers for times, and times without an offset.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator

from storage.errors import Invalid

DAY = re.compile(r"\d{4}-\d\d-\d\d")
DURATION = re.compile(r"(?:(\d{1,5})d)?(?:(\d{1,6})h)?(?:(\d{1,7})m)?(?:(\d{1,9})s)?")


def _text_of_time(value: object) -> object:
    if not isinstance(value, str) or not DAY.match(value):
        raise ValueError("a time is text such as 2026-01-31T12:00:00Z")
    return value


def _text_of_day(value: object) -> object:
    if not isinstance(value, str) or not DAY.fullmatch(value):
        raise ValueError("a day is text such as 2026-01-31")
    return value


def _utc(value: datetime) -> datetime:
    if value.tzinfo is None or not 1 < value.year < 9999:
        raise ValueError("a time needs its offset, such as 2026-01-31T12:00:00Z")
    return value.astimezone(UTC)


Time = Annotated[datetime, BeforeValidator(_text_of_time), AfterValidator(_utc)]
"""RFC 3339 with its offset, given in UTC."""
Day = Annotated[date, BeforeValidator(_text_of_day)]


def duration(text: str) -> timedelta:
    """A duration such as 24h, 1d12h or 90m. Raises Invalid."""
    form = DURATION.fullmatch(text)
    if form is None or not any(form.groups()):
        raise Invalid("this is no duration", code="duration-invalid", hint="such as 24h, 1d12h or 90m")
    days, hours, minutes, seconds = (int(part or 0) for part in form.groups())
    return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)

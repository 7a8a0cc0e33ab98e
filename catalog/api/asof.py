"""At which position a question is answered: `as_of`, `min_position`, and waiting for an index that is behind.

Imports `catalog.api.services`. An answer that the index cannot give yet is refused, never given from older rows.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from catalog.api.pool import in_thread
from catalog.api.services import ApiServices
from storage.errors import Invalid, Unavailable

POLL_SECONDS = 0.02
MAX_POSITION = 2**53 - 1


def parse_as_of(text: str) -> int | datetime:
    """A position, or an RFC 3339 time with its offset. Raises Invalid."""
    if text.isascii() and text.isdigit():
        position = int(text[-64:])
        if position <= MAX_POSITION:
            return position
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        when = None
    if when is None or when.tzinfo is None or not 1 < when.year < 9999:
        raise Invalid(
            "as_of is neither a position nor a time",
            code="as-of-invalid",
            hint="as_of=1234 or as_of=2026-01-31T12:00:00Z",
        )
    return when.astimezone(UTC)


async def reached(services: ApiServices, position: int) -> None:
    """Return when the index is at a position that the log has. Raises Invalid, Unavailable."""
    if position > services.reads.position:
        end = await in_thread(services.catalog.log.position)
        if position > end:
            raise Invalid(f"the log ends at position {end}", code="position-future", hint="ask for an earlier position")
        await wait_for(services, position)


async def settled_as_of(services: ApiServices, wanted: int | datetime) -> int:
    """The position that `wanted` means, once the index has reached it. Raises Invalid, Unavailable."""
    if isinstance(wanted, int):
        await reached(services, wanted)
        return wanted
    if wanted > services.clock():
        raise Invalid("as_of lies in the future", code="as-of-future", hint="what will be known then is not known yet")
    end = await in_thread(services.catalog.log.position)
    position = services.reads.position_at(wanted)
    if position == services.reads.position < end:
        # Events that the index does not have yet may be from that time too.
        await wait_for(services, end)
        position = services.reads.position_at(wanted)
    return position


async def wait_for(services: ApiServices, position: int) -> None:
    """Return when the index is at `position`. Raises Unavailable(projection-behind) after a short wait."""
    waited = 0.0
    while services.reads.position < position:
        if waited >= services.settings.limits.wait_seconds:
            raise Unavailable(
                "the index is behind",
                code="projection-behind",
                why=f"it is at position {services.reads.position}, not yet at {position}",
                hint="repeat the request, or ask as of an earlier position",
            )
        services.follower.hurry()
        await asyncio.sleep(POLL_SECONDS)
        waited += POLL_SECONDS

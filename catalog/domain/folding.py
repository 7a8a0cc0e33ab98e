"""Folding a stream into a state; pure, imports `storage.errors` and events of ours.

`apply` answers whether an event may come next (Conflict if not). In a recorded stream nothing else can have
happened, so there the same fault is Corrupt.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol, Self, TypeVar
from uuid import UUID

from catalog.domain.events import Event
from storage.errors import Conflict, Corrupt


class State(Protocol):
    """What a stream came to."""

    def apply(self, event: Event) -> Self:
        """The state after one more event; Conflict when it may not come next."""


S = TypeVar("S", bound=State)


def fold_stream(begin: Callable[[Event], S], events: Iterable[Event]) -> S | None:
    """The state after `events`, None of no events; Corrupt when they cannot have happened in this order."""
    state: S | None = None
    for event in events:
        try:
            state = begin(event) if state is None else state.apply(event)
        except Conflict as error:
            raise Corrupt(
                f"stream {event.originator_id} contradicts itself at version {event.originator_version}",
                code=error.code,
                why=str(error),
                hint="verify the event log",
            ) from error
    return state


def check_next(event: Event, stream: UUID, version: int) -> None:
    """Conflict unless `event` is the one behind `version` of `stream`."""
    if event.originator_id != stream:
        raise Conflict(f"an event of {event.originator_id} is none of {stream}", code="event-stream")
    if event.originator_version != version + 1:
        raise Conflict(
            f"version {event.originator_version} of {stream} does not follow {version}", code="event-version"
        )


def unexpected(event: Event, where: str) -> Conflict:
    """The error for an event that has no place where it came."""
    return Conflict(f"{type(event).__name__} cannot come {where}", code="event-unexpected")

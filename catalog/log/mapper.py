"""Between events and rows: msgpack with raw bytes, stable topics, upcasts.

Imports `catalog.domain` and `storage.errors` of ours. What is written was read back first, so a row that
cannot be decoded was altered or comes from a newer version; neither is passed on as an event.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import msgspec
from eventsourcing.domain import DomainEventProtocol
from eventsourcing.persistence import Mapper, StoredEvent, Transcoder

from catalog.domain.events import Event
from catalog.domain.topics import EVENTS, topic_of
from catalog.log.framing import Framing
from catalog.log.upcasts import UPCASTS, Upcast, upcast
from storage.errors import Corrupt, Invalid

TYPES: Mapping[str, type[Event]] = {topic_of(event): event for event in EVENTS}


class MsgpackTranscoder(Transcoder):
    """Events to msgpack maps by field name; UUIDs are 16 bytes, times are msgpack timestamps."""

    def __init__(self) -> None:
        self._encoder = msgspec.msgpack.Encoder(uuid_format="bytes")

    def encode(self, obj: Any) -> bytes:
        """Encode one event."""
        return self._encoder.encode(obj)

    def decode(self, data: bytes) -> Any:
        """Decode to plain types; the mapper knows which event they make."""
        return msgspec.msgpack.decode(data)


class MsgpackMapper(Mapper[UUID]):
    """The library's mapper for our frozen events."""

    def __init__(self, upcasts: Mapping[str, Upcast] = UPCASTS) -> None:
        self._framing = Framing()
        super().__init__(MsgpackTranscoder(), self._framing)
        self._upcasts = upcasts

    def to_stored_event(self, domain_event: DomainEventProtocol[UUID]) -> StoredEvent:
        """Encode an event; Invalid when reading it back would not give the same event."""
        event = domain_event
        if not isinstance(event, Event) or TYPES.get(topic_of(type(event))) is not type(event):
            raise Invalid(f"{type(event).__name__} is not an event of this catalog", code="event-type")
        topic = topic_of(type(event))
        try:
            plain = self.transcoder.encode(event)
            same = event.recorded_at.tzinfo is not None and self._event(topic, plain) == event
        except (msgspec.MsgspecError, ValueError, TypeError, AttributeError, OverflowError) as error:
            raise Invalid(f"{topic} cannot be recorded", code="event-shape", why=str(error)) from error
        if not same:
            raise Invalid(f"{topic} cannot be recorded", code="event-shape", why="a field has another type or no zone")
        return StoredEvent(event.originator_id, event.originator_version, topic, self._framing.compress(plain))

    def to_domain_event(self, stored_event: StoredEvent) -> Event:
        """Decode a row; Corrupt when it is no event or not this row's, Invalid when its topic is newer than we."""
        plain = self._framing.decompress(stored_event.state)
        try:
            event = self._event(stored_event.topic, plain)
        except (msgspec.MsgspecError, ValueError, TypeError, KeyError, RecursionError) as error:
            raise Corrupt(
                _name(stored_event) + " cannot be decoded", code="event-undecodable", why=str(error)
            ) from error
        if (event.originator_id, event.originator_version) != (
            stored_event.originator_id,
            stored_event.originator_version,
        ):
            raise Corrupt(
                _name(stored_event) + " is another event",
                code="event-misplaced",
                why=f"it says {event.originator_id} version {event.originator_version}",
            )
        return event

    def same(self, one: StoredEvent, other: StoredEvent) -> bool:
        """Whether two rows hold the same event, however they were compressed."""
        return one.topic == other.topic and self._framing.decompress(one.state) == self._framing.decompress(other.state)

    def _event(self, topic: str, plain: bytes) -> Event:
        topic, fields = upcast(topic, self.transcoder.decode(plain), self._upcasts)
        if topic not in TYPES:
            raise Invalid(
                f"the log holds {topic}, which this version does not know",
                code="event-newer",
                hint="use the version of holdfast that wrote it, or a newer one",
            )
        return msgspec.convert(fields, TYPES[topic])


def _name(stored: StoredEvent) -> str:
    return f"{stored.topic}, version {stored.originator_version} of {stored.originator_id},"

"""Events from their stored bytes, without a database; imports `catalog.domain` and the log's upcasts of ours.

For those who check proofs: every failure is Corrupt, and memory is bounded.
"""

from __future__ import annotations

from uuid import UUID

import msgspec
import zstandard

from catalog.domain.events import Event
from catalog.domain.topics import EVENTS, topic_of
from catalog.log.upcasts import upcast
from storage.errors import Corrupt

TYPES = {topic_of(event): event for event in EVENTS}
PLAIN, ZSTD = b"\x00", b"\x01"
MAX_EVENT_BYTES = 4 * 1024 * 1024


def decode_event(originator_id: UUID, version: int, topic: str, state: bytes) -> Event:
    """The event that a row holds. Raises Corrupt `bundle-event`."""
    try:
        topic, fields = upcast(topic, msgspec.msgpack.decode(_plain(state), type=dict[str, object]))
        event = msgspec.convert(fields, TYPES[topic])
    except (zstandard.ZstdError, msgspec.MsgspecError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise _undecodable(topic, type(error).__name__) from None
    if (event.originator_id, event.originator_version) != (originator_id, version) or event.recorded_at.tzinfo is None:
        raise _undecodable(topic, "it is another event")
    return event


def _plain(state: bytes) -> bytes:
    """The message inside the frame that `catalog/log/FORMAT.md` describes."""
    form, rest = state[:1], state[1:]
    size = len(rest) if form == PLAIN else zstandard.frame_content_size(rest) if form == ZSTD else -1
    if not 0 <= size <= MAX_EVENT_BYTES:
        raise ValueError
    return rest if form == PLAIN else zstandard.ZstdDecompressor().decompress(rest, max_output_size=size)


def _undecodable(topic: str, why: str) -> Corrupt:
    return Corrupt("an event of the proof cannot be read", code="bundle-event", why=f"{topic[:60]!r}: {why}")

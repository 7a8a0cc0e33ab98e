"""Encoding and decoding of single events."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest
from eventsourcing.persistence import Mapper, StoredEvent

from catalog.domain.events import Event, SourceAdded
from catalog.log.framing import Framing
from catalog.log.mapper import MsgpackMapper
from catalog.log.upcasts import Fields, Upcast, upcast
from storage.errors import Corrupt, Invalid
from tests.support.log_events import AT, OTHER, STREAM, note


class SourceAddedBefore(msgspec.Struct, frozen=True, kw_only=True):
    """An invented older shape: one address where there are settings today."""

    originator_id: Any
    originator_version: int
    recorded_at: datetime
    title: str
    address: str


def _named(fields: Fields) -> Fields:
    return {**{k: v for k, v in fields.items() if k != "title"}, "name": fields["title"]}


def _settled(fields: Fields) -> Fields:
    kept = {k: v for k, v in fields.items() if k != "address"}
    return {**kept, "kind": "image", "settings": {"path": fields["address"]}}


UPCASTS = {
    "SourceAdded/-1": Upcast("SourceAdded/0", _named),
    "SourceAdded/0": Upcast("SourceAdded/1", _settled),
}


def _encoded(event: object, topic: str) -> StoredEvent:
    plain = msgspec.msgpack.Encoder(uuid_format="bytes").encode(event)
    return StoredEvent(STREAM, 1, topic, Framing().compress(plain))


def test_an_old_shape_is_read_through_its_upcasts() -> None:
    """An event stored two schemas ago comes out as today's event, every step applied in turn."""
    old = SourceAddedBefore(originator_id=STREAM, originator_version=1, recorded_at=AT, title="lab", address="/vm")
    assert MsgpackMapper(UPCASTS).to_domain_event(_encoded(old, "SourceAdded/-1")) == SourceAdded(
        originator_id=STREAM, originator_version=1, recorded_at=AT, name="lab", kind="image", settings={"path": "/vm"}
    )


def test_an_upcast_that_fails_is_corrupt() -> None:
    """Old fields that the upcast does not find are no event with gaps."""
    with pytest.raises(Corrupt) as caught:
        MsgpackMapper(UPCASTS).to_domain_event(_encoded({"title": "lab"}, "SourceAdded/0"))
    assert caught.value.code == "event-undecodable"


def test_topics_of_today_are_not_upcast() -> None:
    """Fields of a current topic pass unchanged."""
    assert upcast("SourceAdded/1", {"name": "lab"}, UPCASTS) == ("SourceAdded/1", {"name": "lab"})


def test_the_mapper_is_the_librarys() -> None:
    """The mapper takes the place of the library's own."""
    assert isinstance(MsgpackMapper(), Mapper)


@pytest.mark.parametrize(
    "change", [{"originator_id": OTHER}, {"originator_version": 2}], ids=["another stream", "another version"]
)
def test_a_state_in_the_wrong_row_is_corrupt(change: dict[str, Any]) -> None:
    """A state says whose it is; in another row it is not believed."""
    stored = MsgpackMapper().to_stored_event(note(1))
    with pytest.raises(Corrupt) as caught:
        MsgpackMapper().to_domain_event(replace(stored, **change))
    assert caught.value.code == "event-misplaced"


def test_an_unknown_topic_is_from_a_newer_version() -> None:
    """An event that this version does not know asks for a newer version and is never skipped."""
    stored = MsgpackMapper().to_stored_event(note(1))
    with pytest.raises(Invalid) as caught:
        MsgpackMapper().to_domain_event(replace(stored, topic="LeftoverCleaned/2"))
    assert caught.value.code == "event-newer"


@pytest.mark.parametrize("plain", [b"", b"\xc1", b"\x80", b"\x90", b"\xc0", b"\x81\xa4what\x01", b"\xdf" * 9])
def test_a_state_that_is_no_event_is_corrupt(plain: bytes) -> None:
    """Anything but the fields of the topic is refused."""
    stored = replace(MsgpackMapper().to_stored_event(note(1)), state=b"\x00" + plain)
    with pytest.raises(Corrupt) as caught:
        MsgpackMapper().to_domain_event(stored)
    assert caught.value.code == "event-undecodable"


def _changed(**fields: Any) -> Event:
    return msgspec.structs.replace(note(1), **fields)


@pytest.mark.parametrize(
    "event",
    [
        _changed(what=7),
        _changed(machine_id=str(OTHER)),
        _changed(recorded_at=datetime(2026, 1, 1)),  # noqa: DTZ001 - the zone is missing on purpose
        _changed(recorded_at="2026-01-01T00:00:00Z"),
        _changed(what=object()),
        _changed(what="\ud800"),
    ],
    ids=["type", "text for id", "naive time", "text for time", "object", "surrogate"],
)
def test_what_could_not_be_read_back_is_not_written(event: Event) -> None:
    """An event with a field of another type than declared is refused when it is saved."""
    with pytest.raises(Invalid) as caught:
        MsgpackMapper().to_stored_event(event)
    assert caught.value.code == "event-shape"


def test_only_our_events_are_written() -> None:
    """An object that is no event of the catalog is refused."""
    old = SourceAddedBefore(originator_id=STREAM, originator_version=1, recorded_at=AT, title="", address="")
    with pytest.raises(Invalid) as caught:
        MsgpackMapper().to_stored_event(old)
    assert caught.value.code == "event-type"


def test_times_keep_their_moment() -> None:
    """A time of another zone is stored as the same moment in UTC, to the microsecond."""
    there = AT.astimezone(timezone(timedelta(hours=5, minutes=45)))
    event = MsgpackMapper().to_domain_event(MsgpackMapper().to_stored_event(_changed(recorded_at=there)))
    assert event.recorded_at == AT
    assert event.recorded_at.tzinfo == UTC

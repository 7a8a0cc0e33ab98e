"""What was written once is read for ever."""

from __future__ import annotations

from pathlib import Path

import pytest
from eventsourcing.persistence import StoredEvent

from catalog.domain.events import Event
from catalog.domain.topics import EVENTS, topic_of
from catalog.log.framing import Framing
from catalog.log.mapper import TYPES, MsgpackMapper
from tests.support.golden_events import EXAMPLES, FOLDER, OF_OLD_TOPICS, golden_file

BY_TOPIC = {topic_of(type(event)): event for event in EXAMPLES}


def test_each_event_has_an_example_and_a_file() -> None:
    """No event type is without a golden file, and no file is without a topic that still means something."""
    assert sorted(BY_TOPIC) == sorted(map(topic_of, EVENTS)) == sorted(TYPES)
    assert len(EXAMPLES) == len(BY_TOPIC)
    assert {golden_file(topic) for topic in BY_TOPIC} <= set(FOLDER.iterdir())


@pytest.mark.parametrize("path", sorted(FOLDER.iterdir()), ids=lambda path: path.stem)
def test_a_golden_event_decodes(path: Path) -> None:
    """Each stored state, of old schemas too, decodes to the example of its event as it is today."""
    topic = path.stem.replace("-", "/")
    example = (BY_TOPIC | OF_OLD_TOPICS)[topic]
    assert MsgpackMapper().to_domain_event(_stored(topic, example)) == example


@pytest.mark.parametrize("topic", BY_TOPIC)
def test_a_golden_event_is_written_the_same_way(topic: str) -> None:
    """Today's encoding of an event is, before compression, byte for byte the stored one."""
    mapper, framing = MsgpackMapper(), Framing()
    written = mapper.to_stored_event(BY_TOPIC[topic])
    assert written.topic == topic
    assert framing.decompress(written.state) == framing.decompress(golden_file(topic).read_bytes())


def _stored(topic: str, example: Event) -> StoredEvent:
    return StoredEvent(example.originator_id, example.originator_version, topic, golden_file(topic).read_bytes())

"""Segments: what is shipped comes back as it was, whoever ships and whenever; damage never passes for truth."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.log import EventLog
from catalog.segments import ship as shipping
from catalog.segments.format import HEADER, open_segment
from catalog.segments.load import load
from catalog.segments.ship import ship, shipped
from catalog.segments.store import SegmentStore
from storage.errors import Corrupt, Denied, HoldfastError
from storage.keys import KeyRing
from tests.support.memory_objects import MemoryObjects
from tests.support.recorded import REPOSITORY, Author

KEYS = KeyRing(bytes(range(32)))
PLAIN = KeyRing(bytes(range(32)), encrypts=False)
GOLDEN = Path(__file__).parents[2] / "golden" / "segments"


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EventLog]:
    """An empty log."""
    with EventLog.create(tmp_path / "events.sqlite") as log:
        yield log


def grow(log: EventLog, events: int, start: int = 0) -> None:
    """Record some machines."""
    author = Author(log)
    for number in range(start, start + events):
        author.machine(f"vm-{number}")


def heads(log: EventLog) -> list[bytes]:
    """The chain's head at each position."""
    return [log.chain_head(position) for position in range(log.position() + 1)]


def same_after_loading(store: SegmentStore, log: EventLog, path: Path) -> bool:
    """Whether a new log made from the store is the same as `log`."""
    with EventLog.create(path) as other:
        report = load(other, store)
        assert report.lost == ()
        return heads(other) == heads(log) and other.verify_chain().ok


@pytest.mark.parametrize("keys", [KEYS, PLAIN], ids=["encrypted", "plain"])
def test_what_is_shipped_comes_back(log: EventLog, tmp_path: Path, keys: KeyRing) -> None:
    """In many pieces or few, the log from the store has the same chain; shipping again writes nothing."""
    store = SegmentStore(MemoryObjects(), keys, REPOSITORY)
    for number in range(5):
        grow(log, 7, number * 7)
        assert ship(log, store).position == shipped(store.names()) == log.position()
        assert ship(log, store).segments == 0
    assert same_after_loading(store, log, tmp_path / "other.sqlite")


def test_many_small_segments_become_few(log: EventLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After many small shipments there are few objects, and nothing is missing."""
    monkeypatch.setattr(shipping, "MANY_SMALL", 5)
    monkeypatch.setattr(shipping, "SEGMENT_BYTES", 6_000)
    store = SegmentStore(MemoryObjects(), KEYS, REPOSITORY)
    for number in range(40):
        grow(log, 1, number)
        ship(log, store)
    assert len(store.names()) < 15
    assert same_after_loading(store, log, tmp_path / "other.sqlite")


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10_000))
def test_interrupted_and_doubled_shipping_loses_nothing(seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Two shippers that stop at any object operation leave a store from which every shipped row comes back."""
    random, folder = Random(seed), tmp_path_factory.mktemp("ship")
    objects = _Failing(random)
    with EventLog.create(folder / "events.sqlite") as log, pytest.MonkeyPatch.context() as patched:
        patched.setattr(shipping, "MANY_SMALL", 3)
        stores = [SegmentStore(objects, KEYS, REPOSITORY) for _ in range(2)]
        for number in range(8):
            grow(log, random.randint(1, 3), number * 3)
            before = shipped(stores[0].names())
            try:
                ship(log, random.choice(stores))
            except _Stopped:
                assert shipped(stores[0].names()) >= before
        objects.armed = False
        ship(log, stores[0])
        assert same_after_loading(stores[0], log, folder / "other.sqlite")


class _Stopped(Exception):
    """The process died."""


class _Failing(MemoryObjects):
    """Dies before or after an operation that writes, one time in four."""

    def __init__(self, random: Random) -> None:
        super().__init__()
        self.random, self.armed = random, True

    def _maybe(self) -> None:
        if self.armed and self.random.random() < 0.125:
            raise _Stopped

    def put(self, name: str, *buffers: memoryview) -> None:
        self._maybe()
        super().put(name, *buffers)
        self._maybe()

    def delete(self, name: str) -> None:
        self._maybe()
        super().delete(name)
        self._maybe()


@pytest.mark.parametrize("keys", [KEYS, PLAIN], ids=["encrypted", "plain"])
def test_no_flipped_bit_is_taken_for_truth(log: EventLog, keys: KeyRing) -> None:
    """Each bit of a segment matters: with any one flipped it does not open."""
    objects = MemoryObjects()
    store = SegmentStore(objects, keys, REPOSITORY)
    grow(log, 2)
    ship(log, store)
    (name,) = store.names()
    _, data = objects.read_tail(name.name, name.size_bytes)
    assert [row.position for row in open_segment(keys, data, "x")[1]] == [1, 2]
    for bit in range(len(data) * 8):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises((Corrupt, Denied)):
            open_segment(keys, bytes(flipped), "x")
    for length in range(len(data)):
        with pytest.raises(HoldfastError):
            open_segment(keys, data[:length], "x")


def test_an_older_log_is_not_shipped_over_a_newer_store(log: EventLog, tmp_path: Path) -> None:
    """A log that ends before what the store has is an older copy: nothing is written, and the way out is told."""
    store = SegmentStore(MemoryObjects(), KEYS, REPOSITORY)
    grow(log, 3)
    ship(log, store)
    with EventLog.create(tmp_path / "old.sqlite") as old, pytest.raises(Corrupt, match="the log ends at 0") as caught:
        ship(old, store)
    assert caught.value.code == "log-behind"


def test_another_story_does_not_follow(log: EventLog, tmp_path: Path) -> None:
    """Segments of a log that went another way are refused, and nothing of them is recorded."""
    store = SegmentStore(MemoryObjects(), KEYS, REPOSITORY)
    grow(log, 3)
    ship(log, store)
    with EventLog.create(tmp_path / "fork.sqlite") as fork:
        grow(fork, 2, start=50)
        with pytest.raises(Corrupt) as caught:
            load(fork, store)
        assert caught.value.code == "log-fork"
        assert fork.position() == 2


@pytest.mark.parametrize("more", [3, 4], ids=["as long", "longer"])
def test_a_log_that_went_on_from_an_older_copy_is_not_shipped(log: EventLog, tmp_path: Path, more: int) -> None:
    """Events of another history are not put behind those in the store, whichever of the two is longer."""
    store = SegmentStore(MemoryObjects(), KEYS, REPOSITORY)
    grow(log, 2)
    ship(log, store)
    grow(log, 1, 2)
    with EventLog.create(tmp_path / "older.sqlite") as older:
        load(older, store)
        ship(log, store)
        names = store.names()
        grow(older, more - 2, start=50)
        if more == 3:
            rows = list(older.evidence.trusted(2, 3))
            with pytest.raises(Corrupt) as caught:
                store.write(rows, older.chain_head(2), older.chain_head(3))
        else:
            with pytest.raises(Corrupt) as caught:
                ship(older, store)
    assert caught.value.code == "log-fork"
    assert store.names() == names


def test_history_that_no_key_sealed_is_refused(log: EventLog) -> None:
    """Whoever writes to the store without the key cannot put a segment there that an encrypted repository takes."""
    objects = MemoryObjects()
    grow(log, 2)
    ship(log, SegmentStore(objects, PLAIN, REPOSITORY))
    store = SegmentStore(objects, KEYS, REPOSITORY)
    (name,) = store.names()
    with pytest.raises(Corrupt, match="sealed in another way"):
        store.read(name)


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.seg")), ids=lambda path: path.stem)
def test_golden_segments_open(path: Path) -> None:
    """Segments of format 1 open for ever."""
    segment, rows = open_segment(PLAIN if path.stem.startswith("plain") else KEYS, path.read_bytes(), path.name)
    assert (segment.repository_id, segment.first, segment.last) == (REPOSITORY, 1, 3)
    assert [row.topic for row in rows] == ["MachineSeen/1"] * 3
    assert len(path.read_bytes()) > HEADER.size


def test_there_are_golden_segments() -> None:
    """One of each form is kept."""
    assert {path.stem for path in GOLDEN.glob("*.seg")} == {"plain-1", "encrypted-1"}

"""The ledger of one home: its key, its tree, its checkpoints and where they are kept.

Imports `catalog` and `storage`. What is signed is the log as its chain has it; what is published is recorded in the
ledger's own stream.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property, partial
from threading import RLock
from typing import TYPE_CHECKING, Any
from uuid import UUID

from catalog.domain.ids import ledger_stream
from catalog.domain.ledger import CheckpointPublished, LedgerPlaceAdded, LedgerPlaceRemoved
from catalog.home import Home
from catalog.ledger.check import Kept, LedgerCheck, check_log
from catalog.ledger.checkpoint import Checkpoint, read_checkpoint, read_retired, sign_checkpoint
from catalog.ledger.history import LedgerHistory, open_place
from catalog.ledger.keyfile import key_name, load_key, make_key
from catalog.ledger.note import SignerKey
from catalog.ledger.places import Place
from catalog.ledger.proofs import MAX_SIZE
from catalog.ledger.publish import compare_newest, publish_to
from catalog.ledger.tiles import Tiles
from catalog.ledger.tree import MerkleTree
from catalog.log import EventLog
from storage.errors import Conflict, Corrupt, Denied, Invalid, NotFound

if TYPE_CHECKING:
    from catalog.ledger.bundle import CoverageRequest

EVERY_EVENTS = 10_000
EVERY_SECONDS = 3600
RETRY_SECONDS = 300
MAX_PLACES = 16
MAX_COMPARED = 1000
OWN_RECORD = "the log's own record"


@dataclass(frozen=True, slots=True)
class PlaceStatus:
    """A place as the log knows it. `kept_size`: the last size it took; `failing`: it did not take the last one."""

    name: str
    kind: str
    settings: Mapping[str, str]
    kept_size: int | None
    failing: bool


@dataclass(frozen=True, slots=True)
class LedgerStatus:
    """How far the log is, and when it was last published, over how many events and how long ago."""

    size: int
    published_at: datetime | None
    published_size: int | None
    age: timedelta | None
    places: tuple[PlaceStatus, ...]


class Ledger:
    """Safe to use from several threads and processes."""

    def __init__(self, log: EventLog, home: Home, clock: Callable[[], datetime]) -> None:
        self._log = log
        self._home = home
        self._clock = clock
        self._tree = MerkleTree(log.evidence.leaves, Tiles(home.ledger_dir))
        self._history = LedgerHistory()
        self._lock = RLock()

    @cached_property
    def repository_id(self) -> UUID:
        """Whose ledger it is."""
        return self._home.read_config().repository_id

    def public_key(self) -> str:
        """The verifier key: `name+keyid+base64`."""
        return str(self._key().verifier)

    def renew_key(self) -> str:
        """Make a new key in the place of one that was lost, record that, and return the public key.

        Who checks checkpoints needs the new one from here on. Raises Conflict while there is a key, or nothing signed.
        """
        with self._lock:
            history = self._followed()
            name, newest, stamp = key_name(self.repository_id), history.newest, self._next(history)
            if newest is None or self._home.ledger_key_file.exists():
                raise Conflict("the key of this ledger is not lost", code="ledger-key-exists")
            size = self._log.position()
            key = make_key(self._home.ledger_key_file, name).verifier
            about: dict[str, Any] = {"size": size, "root": self._root(size), "key_id": key.key_id}
            self._log.save(CheckpointPublished(**stamp, **about, places=(), failed=tuple(history.places)))
            return str(key)

    def checkpoint(self) -> Checkpoint:
        """Sign the log as it is now; nothing is published or recorded."""
        return self._signed(self._log.position())

    def latest(self) -> Checkpoint:
        """The checkpoint that was published last. Raises NotFound `ledger-no-checkpoint`."""
        newest = self._followed().newest
        if newest is None:
            raise NotFound("no checkpoint was published yet", code="ledger-no-checkpoint", hint="ledger checkpoint")
        return self._signed(newest.size)

    def checkpoint_at(self, size: int) -> Checkpoint:
        """Sign the log as it was at a size."""
        return self._signed(size)

    def inclusion(self, position: int, size: int) -> list[bytes]:
        """The path that proves the event at `position` in the tree of `size` events."""
        self._check_span(position, size, least=1)
        return self._tree.inclusion(position - 1, size, self._root(size))

    def consistency(self, old: int, new: int) -> list[bytes]:
        """The path that proves that the log at size `new` begins with the log at size `old`."""
        self._check_span(old, new, least=0)
        return self._tree.consistency((old, self._root(old)), (new, self._root(new)))

    def multiproof(self, positions: list[int], size: int) -> list[bytes]:
        """The nodes that prove all these events at once."""
        return self._tree.multiproof([position - 1 for position in positions], size, self._root(size))

    def event_proof(self, position: int) -> dict[str, Any]:
        """One event as stored, with its path to a signed checkpoint; bytes are base64, as in the checkpoint."""
        row = self._log.evidence.stored(position)
        newest = self._followed().newest
        covered = newest is not None and newest.size >= position
        checkpoint = self._signed(newest.size) if covered and newest else self.checkpoint()
        return {
            "position": position,
            "originator_id": str(row.originator_id),
            "originator_version": row.originator_version,
            "topic": row.topic,
            "state": _text(row.state),
            "size": checkpoint.size,
            "path": [_text(node) for node in self.inclusion(position, checkpoint.size)],
            "checkpoint": checkpoint.note,
            "public_key": self.public_key(),
        }

    def add_place(self, name: str, kind: str, settings: dict[str, str]) -> None:
        """Keep checkpoints at one more place. Raises Conflict, Unavailable when it does not answer, Corrupt."""
        history = self._followed()
        stamp = self._next(history)
        if name in history.places:
            raise Conflict(f"there is a place {name} already", code="ledger-place-exists")
        if len(history.places) >= MAX_PLACES:
            raise Invalid(f"more than {MAX_PLACES} places are not of use", code="ledger-places")
        place = open_place(kind, settings, self.repository_id)
        compare_newest(name, place, 0, self._read, self._computed)
        self._log.save(LedgerPlaceAdded(**stamp, name=name, kind=kind, settings=settings))

    def remove_place(self, name: str) -> None:
        """Stop keeping checkpoints at a place; what is there stays. Raises NotFound."""
        self._place_event(name)
        self._log.save(LedgerPlaceRemoved(**self._next(self._history), name=name))

    def status(self) -> LedgerStatus:
        """What was published, and which places fail."""
        history = self._followed()
        newest, now = history.newest, self._clock()
        failing = newest.failed if newest else ()
        return LedgerStatus(
            size=self._log.position(),
            published_at=newest.recorded_at if newest else None,
            published_size=newest.size if newest else None,
            age=now - newest.recorded_at if newest else None,
            places=tuple(
                PlaceStatus(name, event.kind, event.settings, history.kept.get(name), name in failing)
                for name, event in sorted(history.places.items())
            ),
        )

    def publish(self) -> CheckpointPublished:
        """Sign the log as it is now, write that to every place and record it. Corrupt: a place knows another log."""
        published = self._publish()
        if published is None:
            raise AssertionError("unreachable")
        return published

    def publish_if_due(
        self,
        shipped: Callable[[], int],
        every_events: int = EVERY_EVENTS,
        every_seconds: float = EVERY_SECONDS,
    ) -> CheckpointPublished | None:
        """Publish when there are places and enough is new; one read of one event when not.

        No further than `shipped` says that the store has the log: what was published must not be lost with the home.
        A place that failed is tried again after five minutes. None when nothing was recorded.
        """
        version = self._log.version(ledger_stream(self.repository_id))
        if version == 0:
            return None
        last = next(self._log.stream(ledger_stream(self.repository_id), version - 1))

        def due(size: int) -> bool:
            if not isinstance(last, CheckpointPublished):
                return True
            fresh = size - last.size - 1
            age = (self._clock() - last.recorded_at).total_seconds()
            again = bool(last.failed) and age >= min(RETRY_SECONDS, every_seconds)
            return again or (fresh > 0 and (fresh >= every_events or age >= every_seconds))

        if not due(self._log.position()) or not self._followed().places or not due(upto := shipped()):
            return None
        try:
            return self._publish(upto)
        except Conflict:
            return None

    def check(self, kept: list[Kept] | None = None) -> LedgerCheck:
        """Compare the stored events with checkpoints: those given, or all that places keep and the log recorded."""
        kept = self._all_kept() if kept is None else kept
        return check_log(self._log.evidence.rows(0, MAX_SIZE), kept)

    def kept_by(self, name: str) -> list[Kept]:
        """Checkpoints that one place keeps: the newest, and a thousand others at most to narrow a finding down.

        Raises NotFound, Corrupt, Unavailable.
        """
        event = self._place_event(name)
        place = open_place(event.kind, event.settings, self.repository_id)
        return [Kept(name, self._read(place.read(size))) for size in _some(list(place.sizes()))]

    def prove_coverage(self, request: CoverageRequest) -> bytes:
        """A bundle that proves, offline, what backups a machine had in a period."""
        from catalog.ledger.prove import prove_coverage  # noqa: PLC0415 - loaded for proofs only

        return prove_coverage(self, self._log, request)

    def first_published_since(self, when: datetime) -> CheckpointPublished | None:
        """The first checkpoint that was published at or after a moment."""
        return next((event for event in self._followed().published if event.recorded_at >= when), None)

    def _publish(self, upto: int | None = None) -> CheckpointPublished | None:
        """Publish the whole log; or no more than `upto`, if that is news."""
        with self._lock:
            history = self._followed()
            # Taken before the size: who publishes meanwhile makes this a conflict, so that sizes never go back.
            key, last, stamp = self._key(), history.newest, self._next(history)
            end = self._log.position()
            size = end if upto is None else min(upto, end)
            if last is not None and size < last.size:
                return None
            checkpoint = self._signed(size)
            places = {name: partial(self._open, event) for name, event in history.places.items()}
            done = publish_to(places, history.kept, checkpoint, self._read, self._computed)
            nothing_new = last is not None and size <= last.size + 1 and last.failed == tuple(done.failed)
            if nothing_new and upto is not None:
                return None
            event = CheckpointPublished(
                **stamp,
                size=checkpoint.size,
                root=checkpoint.root,
                key_id=key.verifier.key_id,
                places=done.places,
                failed=tuple(done.failed),
            )
            self._log.save(event)
            return event

    def _open(self, event: LedgerPlaceAdded) -> Place:
        return open_place(event.kind, event.settings, self.repository_id)

    def _place_event(self, name: str) -> LedgerPlaceAdded:
        found = self._followed().places.get(name)
        if found is None:
            raise NotFound(f"there is no place {name}", code="ledger-place-unknown", hint="holdfast ledger place list")
        return found

    def _all_kept(self) -> list[Kept]:
        kept = [Kept(OWN_RECORD, Checkpoint(event.size, event.root, b"", "")) for event in self._followed().published]
        for name in self._history.places:
            kept += self.kept_by(name)
        return kept

    def _signed(self, size: int) -> Checkpoint:
        return sign_checkpoint(self._key(), size, self._root(size), self._log.chain_head(size))

    def _read(self, note: str) -> Checkpoint:
        """A note from a place. One of a key that was lost since is good enough to be compared with the log."""
        key = self._key().verifier
        try:
            return read_checkpoint(note, key)
        except Corrupt:
            retired = {event.key_id for event in self._followed().published} - {key.key_id}
            if not retired:
                raise
            return read_retired(note, key.name, retired)

    def _root(self, size: int) -> bytes:
        return self._tree.root(size, self._followed().anchor(size))

    def _computed(self, size: int) -> tuple[bytes, bytes] | None:
        try:
            return self._root(size), self._log.chain_head(size)
        except NotFound:
            return None

    def _key(self) -> SignerKey:
        name = key_name(self.repository_id)
        key = load_key(self._home.ledger_key_file, name)
        newest = self._followed().newest
        if newest is not None and (key is None or key.verifier.key_id != newest.key_id):
            raise Denied(
                f"the key that signed this ledger is not in {self._home.ledger_key_file}",
                code="ledger-key-lost",
                why=f"checkpoints are signed with key {newest.key_id}",
                hint="put it back from a copy of the home; if there is none: holdfast ledger key --renew",
            )
        return key or make_key(self._home.ledger_key_file, name)

    def _followed(self) -> LedgerHistory:
        with self._lock:
            self._history.follow(self._log, self.repository_id)
            return self._history

    def _next(self, history: LedgerHistory) -> dict[str, Any]:
        return {
            "originator_id": ledger_stream(self.repository_id),
            "originator_version": history.version + 1,
            "recorded_at": self._clock(),
        }

    def _check_span(self, first: int, last: int, *, least: int) -> None:
        if not least <= first <= last <= self._log.position():
            raise Invalid(
                f"there is no proof from {first} to {last}",
                code="ledger-span",
                why=f"the log has {self._log.position()} events",
            )


def _some(sizes: list[int]) -> list[int]:
    step = -(-len(sizes) // MAX_COMPARED) or 1
    return sizes[::-1][::step]


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()

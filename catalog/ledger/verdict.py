"""Checking a coverage proof offline: with the file and the public key, and nothing else of ours on the machine.

Imports `catalog.domain`, the log's leaf and upcasts, and its neighbours; no database, no home. What the bundle claims
is computed anew from its events, and these are believed only as far as the signed tree holds them.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from uuid import UUID

from catalog.domain.coverage import CoverageReport
from catalog.domain.events import Event, MachineSeen, RestorePointCommitted
from catalog.ledger.bundle import Bundle, CoverageRequest, ProvenEvent, claim_of, decode_bundle, malformed
from catalog.ledger.checkpoint import Checkpoint, read_checkpoint
from catalog.ledger.decode import decode_event
from catalog.ledger.evidence import Evidence, closed, collect, report
from catalog.ledger.note import VerifierKey
from catalog.ledger.proofs import consistency_holds, multi_root
from catalog.log.chain import MAX_VERSION, leaf_of
from storage.errors import Corrupt, Invalid

UUID_BYTES = 16


@dataclass(frozen=True, slots=True)
class BundleVerdict:
    """What a proof that verified proves. `complete`: no event of the machine in the period can have been left out.

    `names` are those that the machine had in the proven events; `checkpoints` are the signed ones, oldest first.
    """

    request: CoverageRequest
    names: tuple[str, ...]
    report: CoverageReport
    complete: bool
    events: int
    checkpoints: tuple[Checkpoint, ...]
    key: VerifierKey

    @property
    def passed(self) -> bool:
        """Whether the machine is proven to have been covered."""
        return self.complete and self.report.covered


def check_bundle(content: bytes, public_key: str) -> BundleVerdict:
    """Check a bundle. Raises Corrupt when it does not verify, Invalid when `public_key` is none."""
    key = VerifierKey.parse(public_key)
    bundle = decode_bundle(content)
    checkpoints = _checkpoints(bundle, key)
    events = _proven(bundle, checkpoints[-1])
    try:
        found = collect(events, bundle.request)
        proven = report(found, bundle.request)
    except (Invalid, OverflowError) as error:
        raise malformed(str(error)) from None
    if claim_of(proven) != bundle.claim:
        raise Corrupt("the proof does not verify", code="bundle-claim", why="it claims what its events do not say")
    return BundleVerdict(
        request=bundle.request,
        names=_names(found),
        report=proven,
        complete=closed(found, bundle.request.end),
        events=len(events),
        checkpoints=tuple(checkpoints),
        key=key,
    )


def _checkpoints(bundle: Bundle, key: VerifierKey) -> list[Checkpoint]:
    found = [read_checkpoint(note, key) for note in bundle.checkpoints]
    old, new = found[0], found[-1]
    if not consistency_holds(old.size, new.size, old.root, new.root, bundle.consistency):
        raise Corrupt("the proof does not verify", code="bundle-fork", why="its checkpoints are of two histories")
    return found


def _proven(bundle: Bundle, checkpoint: Checkpoint) -> list[Event]:
    """The events, once it is certain that the signed tree has them at their positions."""
    if any(other.position <= one.position for one, other in pairwise(bundle.events)):
        raise malformed("its events are out of order")
    leaves = {event.position - 1: _leaf(event) for event in bundle.events}
    if multi_root(checkpoint.size, leaves, bundle.nodes) != checkpoint.root:
        raise Corrupt("the proof does not verify", code="bundle-root", why="its events are not those that were signed")
    return [
        decode_event(UUID(bytes=event.originator_id), event.version, event.topic, event.state)
        for event in bundle.events
    ]


def _leaf(event: ProvenEvent) -> bytes:
    if len(event.originator_id) != UUID_BYTES or not 0 < event.version <= MAX_VERSION:
        raise malformed("an event has no place in a stream")
    try:
        return leaf_of(UUID(bytes=event.originator_id), event.version, event.topic, event.state)
    except UnicodeEncodeError as error:
        raise malformed("a topic is no text") from error


def _names(found: Evidence) -> tuple[str, ...]:
    names: dict[str, None] = {}
    for event in found.machine:
        if isinstance(event, MachineSeen):
            names[f"{event.source}/{event.name}"] = None
        elif isinstance(event, RestorePointCommitted):
            names[f"{event.source}/{event.machine}"] = None
    return tuple(names)

"""What proven events say about a machine's coverage, and whether any of its events was left out.

Pure; imports `catalog.domain` and `storage.errors` of ours. Used by who makes a bundle and by who checks it; the
checker adds that the events are the log's.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import pairwise
from uuid import UUID

from catalog.domain.coverage import CoverageReport, CoveredPoint, assess
from catalog.domain.events import Event, MachineSeen, RestorePointCommitted, RestorePointDeleted, RestorePointVerified
from catalog.ledger.bundle import CoverageRequest, malformed
from storage.errors import Invalid


@dataclass(frozen=True, slots=True)
class Evidence:
    """The events of a machine's stream and the verifications of its restore points, each in order."""

    machine: tuple[Event, ...]
    verifications: tuple[RestorePointVerified, ...]

    @property
    def points(self) -> frozenset[UUID]:
        """The restore points that were committed among the machine's events."""
        return frozenset(event.restore_point_id for event in self.machine if isinstance(event, RestorePointCommitted))


def collect(events: Sequence[Event], request: CoverageRequest) -> Evidence:
    """Sort proven events, in the order of their positions. Raises Corrupt when one is missing between or before others.

    The machine's events must follow each other by version, and begin before whatever can matter in the period;
    verifications of a point must follow each other from the first one. Events of anything else are refused.
    """
    machine = tuple(event for event in events if event.originator_id == request.machine_id)
    if not machine:
        raise malformed("it has no event of the machine")
    _check_follow(machine)
    found, first = Evidence(machine, ()), machine[0]
    if first.originator_version == 1:
        if not isinstance(first, MachineSeen):
            raise malformed("the first event of the machine is not that it was seen")
    elif first.recorded_at >= request.start - request.rpo:
        raise malformed("events at the start of the period are left out")
    others = [event for event in events if event.originator_id != request.machine_id]
    return replace(found, verifications=tuple(_verifications(others, found.points, request.machine_id)))


def closed(found: Evidence, end: datetime) -> bool:
    """Whether an event behind the period is there, so that none at its end can have been left out."""
    return found.machine[-1].recorded_at >= end


def report(found: Evidence, request: CoverageRequest) -> CoverageReport:
    """The coverage that the events amount to. Raises Invalid `machine-unknown-then`, `coverage-period`."""
    known_since = found.machine[0].recorded_at
    if known_since >= request.end:
        raise Invalid(
            "the machine was not known in that period",
            code="machine-unknown-then",
            why=f"it was first seen at {known_since:%Y-%m-%dT%H:%M:%SZ}",
        )
    return assess(
        list(_points(found)),
        start=request.start,
        end=request.end,
        rpo=request.rpo,
        known_since=known_since,
        accepted=request.accepted,
    )


def _points(found: Evidence) -> Iterable[CoveredPoint]:
    deleted = {one.restore_point_id: one.recorded_at for one in found.machine if isinstance(one, RestorePointDeleted)}
    last = {event.originator_id: event for event in found.verifications}
    for event in found.machine:
        if isinstance(event, RestorePointCommitted):
            verified = last.get(event.restore_point_id)
            yield CoveredPoint(
                restore_point_id=event.restore_point_id,
                recorded_at=event.recorded_at,
                result=event.result,
                left_out=tuple(disk.label for disk in event.left_out),
                verified_at=verified.recorded_at if verified else None,
                verified_result=verified.result if verified else None,
                deleted_at=deleted.get(event.restore_point_id),
            )


def _check_follow(events: Sequence[Event]) -> None:
    for one, other in pairwise(events):
        if other.originator_version != one.originator_version + 1:
            raise malformed(f"an event behind version {one.originator_version} of {one.originator_id} is left out")


def _verifications(
    others: Iterable[Event], points: Collection[UUID], machine_id: UUID
) -> Iterable[RestorePointVerified]:
    streams: dict[UUID, list[Event]] = defaultdict(list)
    for event in others:
        streams[event.originator_id].append(event)
    for point, events in streams.items():
        if point not in points:
            raise malformed("it has events that do not concern the machine")
        if events[0].originator_version != 1:
            raise malformed("the first event of a restore point is left out")
        _check_follow(events)
        for event in events:
            if isinstance(event, RestorePointVerified):
                if event.machine_id != machine_id:
                    raise malformed("it has a verification of another machine")
                yield event

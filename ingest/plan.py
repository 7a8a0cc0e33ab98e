"""How to read one disk: a pure decision, per disk and never per job, so that a disk falls back alone.

Imports facts only. Every full has a cause; `cause` is a stable code that lands in the event.
"""

from __future__ import annotations

from dataclasses import dataclass

from adapters.port import DiskFact, Tracked, Untracked
from catalog.domain.facts import DiskPoint


@dataclass(frozen=True, slots=True)
class Full:
    """Read every allocated block."""

    cause: str


@dataclass(frozen=True, slots=True)
class Incremental:
    """Read what the source says has changed since `base`, or compare all with it when `tracked` is false."""

    base: DiskPoint
    tracked: bool
    cause: str


Plan = Full | Incremental

_BASELESS = "no-base-token"


def plan_disk(fact: DiskFact, last: DiskPoint | None, *, full_requested: bool, chunk_bytes: int) -> Plan:
    """Decide from the disk as it is now and as the last restore point has it."""
    refusal = _no_base(fact, last, full_requested=full_requested, chunk_bytes=chunk_bytes)
    if refusal is not None or last is None:
        return Full(refusal or "first-backup")
    if last.base_token is not None:
        # Who compares and has a token compares at the source, and tells the outcome as others tell what they tracked.
        return Incremental(last, tracked=True, cause="compared" if fact.tracking == "compare" else "tracked")
    if fact.tracking == "compare":
        return Incremental(last, tracked=False, cause="compared")
    return Full(_BASELESS)


def _no_base(fact: DiskFact, last: DiskPoint | None, *, full_requested: bool, chunk_bytes: int) -> str | None:
    if last is None:
        return "first-backup"
    if full_requested:
        return "full-requested"
    if last.identity != fact.identity:
        return "disk-replaced"
    if last.size_bytes != fact.size_bytes and (fact.tracking == "compare" or not _holds(last, fact.size_bytes)):
        return "disk-resized"
    if last.chunk_bytes != chunk_bytes:
        return "chunk-size-changed"
    return None


def after_snapshot(plan: Plan, tracking: Tracked | Untracked, size_bytes: int) -> Plan:
    """Correct the plan by what the source could really do once the disk was frozen, and the cause by what it says."""
    if isinstance(tracking, Tracked):
        resized = isinstance(plan, Incremental) and plan.tracked and not _holds(plan.base, size_bytes)
        return Full("disk-resized") if resized else plan
    if isinstance(plan, Incremental):
        return Full(tracking.cause) if plan.tracked else plan
    untold = plan.cause == _BASELESS and tracking.cause != "no-base"  # which says no more than that none was given
    return Full(tracking.cause) if untold else plan


def _holds(last: DiskPoint, size_bytes: int) -> bool:
    """Whether a disk of this size can build on a point: it may have grown, but no chunk of it may have."""
    return size_bytes == last.size_bytes or (size_bytes > last.size_bytes and last.size_bytes % last.chunk_bytes == 0)


def base_token(plan: Plan) -> str | None:
    """The token to hand to the source: what it should track changes from."""
    return plan.base.base_token if isinstance(plan, Incremental) and plan.tracked else None

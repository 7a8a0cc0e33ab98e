"""Runs: what is left at the source, what is planned and sealed, and how they end."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import msgspec
import pytest

from catalog.domain import events as ev
from catalog.domain.run import RunState
from storage.errors import Conflict, Corrupt
from tests.support.golden_events import DISK_POINT

MACHINE, POINT = UUID(int=2), UUID(int=3)
LABEL = "holdfast-1"
MARKED: dict[str, Any] = {"machine_id": MACHINE, "label": LABEL}
STARTED: dict[str, Any] = {**MARKED, "source": "lab", "machine": "db1", "full_requested": True}
PLANNED: dict[str, Any] = {
    "disk_id": DISK_POINT.disk_id,
    "seq": DISK_POINT.seq,
    "parent_seq": DISK_POINT.parent_seq,
    "level": DISK_POINT.level,
    "cause": "tracked",
    "method": "tracked",
    "transport": "nbd",
}
REQUESTED = (ev.SnapshotRequested, {**MARKED, "disks": (), "consistency": "crash"})
CREATED = (ev.SnapshotCreated, {**MARKED, "consistency": "crash", "fallback_cause": None})
RELEASING = (ev.SnapshotReleaseRequested, {**MARKED, "committed": True})
RELEASED = (ev.SnapshotReleased, MARKED)
NOT_RELEASED = (ev.SnapshotReleaseFailed, {**MARKED, "code": "busy", "why": "busy"})
PLAN = (ev.DiskPlanned, PLANNED)
SEAL = (ev.DiskSealed, {"disk": DISK_POINT})
COMPLETED = (ev.BackupCompleted, {"machine_id": MACHINE, "restore_point_id": POINT})
FAILED = (ev.BackupFailed, {"machine_id": MACHINE, "kind": "limit", "code": "x", "why": "y"})
INTERRUPTED = (ev.BackupInterrupted, {"machine_id": MACHINE, "cause": "signal"})
CLEANED = (ev.LeftoverCleaned, {"machine_id": MACHINE, "what": "bitmap", "action": "removed"})
CHOSEN = (ev.TransportChosen, {"disk_id": DISK_POINT.disk_id, "kind": "san", "requested": None, "rejected": ()})
FELL_BACK = (ev.TransportFellBack, {"disk_id": DISK_POINT.disk_id, "chosen": "san", "actual": "nbdssl"})
DISTRUSTED = (
    ev.ChangeTrackingDistrusted,
    {
        "machine_id": MACHINE,
        "disk_id": DISK_POINT.disk_id,
        "sampled_blocks": 4,
        "mismatched_blocks": 1,
        "first_mismatch": 9,
    },
)
Step = tuple[type[ev.Event], dict[str, Any]]


def _run(make: Any, *steps: Step) -> RunState:
    state = RunState.fold([make(ev.BackupStarted, **STARTED), *[make(kind, **fields) for kind, fields in steps]])
    assert state is not None
    return state


def test_no_events_are_no_run() -> None:
    """An empty stream is no run."""
    assert RunState.fold([]) is None


def test_a_whole_run(make: Any) -> None:
    """A run from start to release ends completed, with its disk sealed and nothing left at the source."""
    state = _run(
        make, CLEANED, REQUESTED, CREATED, CHOSEN, FELL_BACK, DISTRUSTED, PLAN, SEAL, COMPLETED, RELEASING, RELEASED
    )
    assert (state.run_id, state.machine_id, state.label, state.full_requested) == (UUID(int=1), MACHINE, LABEL, True)
    assert (state.open, state.outcome, state.restore_point_id) == (False, "completed", POINT)
    assert state.snapshot == "released"
    assert state.sealed == {DISK_POINT.disk_id: DISK_POINT}
    assert state.version == 12


@pytest.mark.parametrize(
    ("steps", "snapshot"),
    [
        ((), "none"),
        ((REQUESTED,), "requested"),
        ((REQUESTED, CREATED), "created"),
        ((REQUESTED, CREATED, RELEASING), "releasing"),
        ((REQUESTED, CREATED, RELEASING, NOT_RELEASED), "releasing"),
        ((REQUESTED, CREATED, RELEASING, NOT_RELEASED, RELEASING, RELEASED), "released"),
        ((REQUESTED, RELEASING, RELEASED, REQUESTED), "requested"),
    ],
)
def test_what_a_dead_run_may_have_left(make: Any, steps: tuple[Step, ...], snapshot: str) -> None:
    """Wherever a run died, its stream says whether its label may still be at the source."""
    state = _run(make, *steps)
    assert (state.open, state.snapshot) == (True, snapshot)


@pytest.mark.parametrize("end", [COMPLETED, FAILED, INTERRUPTED])
def test_an_ended_run_can_only_clean_up(make: Any, end: Step) -> None:
    """After the end a snapshot can still be released, and nothing else can happen."""
    ended = _run(make, REQUESTED, CREATED, end)
    cleaned = ended.apply(make(RELEASING[0], **RELEASING[1])).apply(make(RELEASED[0], **RELEASED[1]))
    assert (cleaned.outcome, cleaned.snapshot) == (ended.outcome, "released")
    for kind, fields in (REQUESTED, PLAN, SEAL, COMPLETED, FAILED, INTERRUPTED, DISTRUSTED, CHOSEN, FELL_BACK):
        event = msgspec.structs.replace(make(kind, **fields), originator_version=ended.version + 1)
        with pytest.raises(Conflict) as caught:
            ended.apply(event)
        assert caught.value.code == "event-unexpected"


def test_a_disk_can_be_planned_again_until_it_is_sealed(make: Any) -> None:
    """A distrusted disk gets a new plan, and what is sealed must be what was planned last."""
    full = (ev.DiskPlanned, PLANNED | {"parent_seq": None, "level": "full", "cause": "tracking-distrusted"})
    sealed = msgspec.structs.replace(DISK_POINT, parent_seq=None, level="full")
    state = _run(make, PLAN, DISTRUSTED, full, (ev.DiskSealed, {"disk": sealed}))
    assert state.planned[DISK_POINT.disk_id].level == "full"
    assert state.sealed == {DISK_POINT.disk_id: sealed}


REFUSED: dict[str, tuple[tuple[Step, ...], Step, str]] = {
    "created unasked": ((), CREATED, "event-unexpected"),
    "requested twice": ((REQUESTED,), REQUESTED, "event-unexpected"),
    "released unasked": ((REQUESTED, CREATED), RELEASED, "event-unexpected"),
    "released nothing": ((), RELEASING, "event-unexpected"),
    "other label": ((), (REQUESTED[0], {**REQUESTED[1], "label": "other"}), "run-label"),
    "sealed unplanned": ((), SEAL, "disk-not-planned"),
    "sealed otherwise": (((ev.DiskPlanned, PLANNED | {"seq": 8}),), SEAL, "disk-not-planned"),
    "sealed twice": ((PLAN, SEAL), SEAL, "disk-sealed"),
    "planned when sealed": ((PLAN, SEAL), PLAN, "disk-sealed"),
    "completed unsealed": ((PLAN,), COMPLETED, "run-unsealed"),
    "started twice": ((), (ev.BackupStarted, STARTED), "event-unexpected"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_happen_in_a_run(make: Any, name: str) -> None:
    """Each impossible next event is a conflict with its own code; recorded, it is Corrupt."""
    before, (kind, fields), code = REFUSED[name]
    state = _run(make, *before)
    event = make(kind, **fields)
    with pytest.raises(Conflict) as caught:
        state.apply(event)
    assert caught.value.code == code


def test_a_recorded_contradiction_is_corrupt(make: Any) -> None:
    """A stream that releases what it never asked for is not folded."""
    with pytest.raises(Corrupt) as caught:
        _run(make, RELEASED)
    assert caught.value.code == "event-unexpected"

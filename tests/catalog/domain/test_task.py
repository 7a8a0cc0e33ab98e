"""A task ends once, and nothing can come that did not follow."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.domain import requests as rq
from catalog.domain.events import Event, RunOpened
from catalog.domain.task import OPEN, TaskState, same_request
from storage.errors import Conflict, Corrupt

TASK, OTHER = UUID(int=1), UUID(int=2)
AT = datetime(2026, 3, 1, tzinfo=UTC)
REQUESTS: tuple[dict[str, Any], ...] = (
    {"kind": rq.BackupRequested, "source": "lab", "machine_id": None, "full": False},
    {"kind": rq.BackupRequested, "source": "lab", "machine_id": OTHER, "full": True},
    {"kind": rq.SyntheticRequested, "machine_id": OTHER, "restore_point_id": TASK},
    {"kind": rq.VerificationRequested, "machine_id": OTHER, "restore_point_id": TASK, "level": "content"},
    {
        "kind": rq.RestoreRequested,
        "machine_id": OTHER,
        "restore_point_id": TASK,
        "disk_id": None,
        "format": "raw",
        "to": "a",
    },
)
Step = Callable[[TaskState], Event]


def _next(state: TaskState, kind: type[Event], /, **fields: Any) -> Event:
    at = AT + timedelta(seconds=state.version)
    return kind(originator_id=TASK, originator_version=state.version + 1, recorded_at=at, **fields)


STEPS: dict[str, Step] = {
    "start": lambda state: _next(state, rq.TaskStarted, worker="w", attempt=state.attempts + 1),
    "progress": lambda state: _next(state, rq.TaskProgressed, what="vm: sda", done_bytes=1, total_bytes=2),
    "succeed": lambda state: _next(state, rq.TaskSucceeded, restore_points=(OTHER,), partial=False, detail=""),
    "succeed partly": lambda state: _next(state, rq.TaskSucceeded, restore_points=(OTHER,), partial=True, detail="x"),
    "fail": lambda state: _next(state, rq.TaskFailed, kind="conflict", code="busy", why="it is"),
    "ask to cancel": lambda state: _next(state, rq.TaskCancelRequested, requested_by="bea"),
    "cancel": lambda state: _next(state, rq.TaskCancelled),
}


def _request(number: int = 0) -> rq.TaskRequest:
    fields = dict(REQUESTS[number])
    kind = fields.pop("kind")
    made: rq.TaskRequest = kind(
        originator_id=TASK, originator_version=1, recorded_at=AT, requested_by="al", idempotency_key=None, **fields
    )
    return made


def _allowed(status: str, attempts: int, step: str) -> str | None:
    """The model: the status that a step leads to, None when it may not come."""
    if status not in OPEN:
        return None
    taken = attempts > 0
    table = {
        "start": "cancelling" if status == "cancelling" else "running",
        "progress": status if taken else None,
        "succeed": "succeeded" if taken else None,
        "succeed partly": "partial" if taken else None,
        "fail": "failed" if taken else None,
        "ask to cancel": None if status == "cancelling" else "cancelling",
        "cancel": "cancelled" if status == "cancelling" else None,
    }
    return table[step]


@given(number=st.integers(0, len(REQUESTS) - 1), names=st.lists(st.sampled_from(sorted(STEPS)), max_size=30))
def test_any_history_is_one_that_the_model_has(number: int, names: list[str]) -> None:
    """Whatever comes, a task is in the state that the model has, ends at most once, and folds again to the same."""
    state = TaskState.begin(_request(number))
    events: list[Event] = [state.request]
    for name in names:
        event = STEPS[name](state)
        expected = _allowed(state.status, state.attempts, name)
        if expected is None:
            with pytest.raises(Conflict):
                state.apply(event)
            continue
        state = state.apply(event)
        events.append(event)
        assert state.status == expected
    assert TaskState.fold(events) == state
    assert (state.ended_at is not None) == (not state.open)
    ends = [event for event in events if isinstance(event, rq.TaskSucceeded | rq.TaskFailed | rq.TaskCancelled)]
    assert len(ends) == (0 if state.open else 1)


def test_what_a_task_tells() -> None:
    """Kind, machine, progress and outcome are those of its events; another attempt counts progress anew."""
    state = TaskState.begin(_request(1))
    assert (state.kind, state.machine_id, state.requested_at) == ("backup", OTHER, AT)
    for name in ("start", "progress"):
        state = state.apply(STEPS[name](state))
    assert (state.worker, state.attempts, state.what, state.done_bytes, state.total_bytes) == ("w", 1, "vm: sda", 1, 2)
    begun = state.started_at
    state = state.apply(STEPS["start"](state))
    assert (state.attempts, state.done_bytes, state.started_at) == (2, 0, begun)
    failed = state.apply(STEPS["fail"](state))
    assert failed.failure == ("conflict", "busy", "it is")
    partial = state.apply(STEPS["succeed partly"](state))
    assert (partial.restore_points, partial.detail) == ((OTHER,), "x")
    assert TaskState.fold([]) is None


def test_an_attempt_follows_the_one_before() -> None:
    """Two workers that both take attempt one cannot both have it."""
    state = TaskState.begin(_request())
    taken = state.apply(STEPS["start"](state))
    with pytest.raises(Conflict) as caught:
        taken.apply(_next(taken, rq.TaskStarted, worker="v", attempt=1))
    assert caught.value.code == "task-attempt"
    with pytest.raises(Conflict) as caught:
        taken.apply(STEPS["start"](state))
    assert caught.value.code == "event-version"


def test_a_foreign_event_in_a_task_is_corrupt() -> None:
    """What cannot have happened is a log that cannot be trusted, and no stream but a request's is a task."""
    opened = RunOpened(originator_id=TASK, originator_version=2, recorded_at=AT, run_id=OTHER, label="x")
    with pytest.raises(Corrupt):
        TaskState.fold([_request(), opened])
    with pytest.raises(Corrupt):
        TaskState.fold([opened])


def test_the_same_request_is_the_same_whenever_it_came() -> None:
    """Time and task do not tell requests apart; anything that was asked for does."""
    one = _request()
    later = rq.BackupRequested(
        originator_id=OTHER,
        originator_version=1,
        recorded_at=AT + timedelta(days=1),
        requested_by="al",
        idempotency_key=None,
        source="lab",
        machine_id=None,
        full=False,
    )
    assert same_request(one, later)
    for number in range(1, len(REQUESTS)):
        assert not same_request(one, _request(number))

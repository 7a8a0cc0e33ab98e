"""Waiting for tasks of a simulated pool, and of one that says what it likes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from adapters.errors import AdapterError, SourceConflict, SourceInvalid, SourceUnavailable
from adapters.xen.tasks import TaskWaiter, unwrapped
from tests.adapters.xen.conftest import MakeSession, StartPool
from tests.support.eventually import eventually
from tests.support.xapi import XapiSimulator
from tests.support.xapi.faults import Fail, FailTask, ForgetTask, Meanwhile, StallTask

ARGUMENTS = ("ours", [])


def test_a_task_gives_what_its_call_would(pool: XapiSimulator, session_of: MakeSession) -> None:
    """The reference in a task's result is unwrapped, and no task is left behind, with or without a result."""
    session = session_of(pool)
    snapshot = session.task("VM.snapshot", pool.vm("web"), *ARGUMENTS)
    assert pool.record("VM", snapshot)["name_label"] == "ours"
    session.task("VDI.enable_cbt", pool.vdi("web"))
    assert pool.record("VDI", pool.vdi("web"))["cbt_enabled"]
    assert pool.records.find("task") == []
    with pytest.raises(SourceUnavailable) as caught:
        session.task("VM.get_power_state", snapshot)
    assert "No async mode" in caught.value.why


def test_a_failed_task_raises_its_failure(pool: XapiSimulator, session_of: MakeSession) -> None:
    """A task's failure is that of its call, without session ids, and the task is destroyed."""
    session = session_of(pool)
    secret = session.session_id().reveal()
    pool.faults.on("VM.snapshot", FailTask("VDI_IN_USE", ("OpaqueRef:1", secret)))
    with pytest.raises(SourceConflict) as caught:
        session.task("VM.snapshot", pool.vm("web"), *ARGUMENTS)
    assert caught.value.code == "vdi-in-use"
    assert secret not in str(caught.value)
    assert pool.records.find("task") == []


def test_a_task_has_a_deadline(pool: XapiSimulator, session_of: MakeSession) -> None:
    """A task that does not end in time is cancelled and destroyed, and the caller told."""
    session = session_of(pool)
    pool.faults.on("VM.snapshot", StallTask())
    with pytest.raises(SourceUnavailable) as caught:
        session.task("VM.snapshot", pool.vm("web"), *ARGUMENTS, seconds=0.3)
    assert caught.value.code == "task-timeout"
    assert pool.calls["task.cancel"] == 1
    assert pool.records.find("task") == []


def test_a_stopped_wait_cancels_its_task(pool: XapiSimulator, session_of: MakeSession) -> None:
    """Whoever is asked to stop takes the task with them."""
    session = session_of(pool)
    pool.faults.on("VM.snapshot", StallTask())
    with pytest.raises(SourceUnavailable) as caught:
        session.task("VM.snapshot", pool.vm("web"), *ARGUMENTS, stopped=lambda: pool.calls["event.from"] > 0)
    assert caught.value.code == "task-stopped"
    assert pool.calls["task.cancel"] == 1


def test_a_task_that_somebody_cancels_is_an_error(pool: XapiSimulator, session_of: MakeSession) -> None:
    """A cancelled task made nothing that we know of."""
    session = session_of(pool)
    pool.faults.on("VM.snapshot", StallTask())

    def cancelled() -> bool:
        for task in pool.records.find("task", status="pending"):
            pool.records.set("task", task, status="cancelled")
        return False

    with pytest.raises(SourceUnavailable) as caught:
        session.task("VM.snapshot", pool.vm("web"), *ARGUMENTS, stopped=cancelled)
    assert caught.value.code == "task-cancelled"


def test_lost_events_do_not_lose_the_task(pool: XapiSimulator, session_of: MakeSession) -> None:
    """Pitfall 45: after EVENTS_LOST the task itself is looked at, and the wait goes on from there."""
    session = session_of(pool)
    pool.faults.on("event.from", Fail("EVENTS_LOST"), times=3)
    pool.faults.on("VM.snapshot", Meanwhile(lambda: None))
    assert pool.record("VM", session.task("VM.snapshot", pool.vm("web"), *ARGUMENTS))["is_a_snapshot"]
    pool.faults.on("event.from", Fail("EVENTS_LOST"), times=3)
    pool.faults.on("VM.snapshot", StallTask())
    with pytest.raises(SourceUnavailable) as caught:
        session.task("VM.snapshot", pool.vm("web"), *ARGUMENTS, seconds=0.3)
    assert caught.value.code == "task-timeout"


def test_a_lost_task_is_an_error(pool: XapiSimulator, session_of: MakeSession) -> None:
    """Pitfall 45: a task that is gone did what nobody knows: an error that says so, not an end that never comes."""
    session = session_of(pool)
    pool.faults.on("VM.snapshot", ForgetTask())
    with pytest.raises(SourceUnavailable) as caught:
        session.task("VM.snapshot", pool.vm("web"), *ARGUMENTS)
    assert caught.value.code == "task-lost"
    assert pool.snapshots("web") == ["ours"]


def test_a_wait_goes_on_in_a_new_session(pool: XapiSimulator, session_of: MakeSession) -> None:
    """Pitfall 30: a session that expires while a task runs is renewed, and the task is found again."""
    session = session_of(pool)
    gone: list[int] = []

    def expire() -> None:
        if not gone:
            pool.expire_sessions()
        gone.append(1)

    pool.faults.on("event.from", Meanwhile(expire))
    pool.faults.on("VM.snapshot", StallTask())
    with pytest.raises(SourceUnavailable) as caught:
        session.task("VM.snapshot", pool.vm("web"), *ARGUMENTS, seconds=1)
    assert (caught.value.code, session.epoch) == ("task-timeout", 2)


def test_a_master_that_changes_loses_the_task(start_pool: StartPool, session_of: MakeSession) -> None:
    """Pitfalls 28 and 45: the task of a master that is gone is lost, and the session speaks to the next one."""
    pool = start_pool(hosts=2)
    session = session_of(pool)
    pool.faults.on("VM.snapshot", StallTask())
    pool.faults.on("event.from", Meanwhile(lambda: pool.change_master(1)))
    with pytest.raises(SourceUnavailable) as caught:
        session.task("VM.snapshot", pool.vm("web"), *ARGUMENTS)
    assert caught.value.code == "task-lost"
    assert session.master == "127.0.0.2"
    eventually(lambda: not pool.records.find("task"), "no task is left")


# --- hosts that say what they like ---


class Said:
    """A session whose answers are made up; the clock goes on with each question."""

    def __init__(self, **answers: Callable[[], Any]) -> None:
        self.answers = answers
        self.asked: list[str] = []
        self.slept = 0.0
        self.waiter = TaskWaiter(self.call, clock=lambda: len(self.asked) * 0.01, sleep=self.sleep)

    def call(self, method: str, *_args: object) -> Any:
        self.asked.append(method)
        return self.answers.get(method.replace(".", "_"), lambda: "")()

    def sleep(self, seconds: float) -> None:
        self.slept += seconds

    def result(self, seconds: float = 1) -> Any:
        return self.waiter.result("OpaqueRef:1", "It failed", seconds=seconds)


def refuse(code: str) -> Any:
    """Fail as the session does."""
    raise SourceUnavailable("It failed", code=code)


def test_a_host_without_patience_does_not_make_us_spin() -> None:
    """A host that answers every wait at once, with nothing, is asked about once a second."""
    said = Said(task_get_record=lambda: {"status": "pending"}, event_from=lambda: {"events": [], "token": "1"})
    with pytest.raises(SourceUnavailable) as caught:
        said.result()
    assert caught.value.code == "task-timeout"
    assert said.slept >= 0.4 * said.asked.count("event.from")
    assert said.asked[-2:] == ["task.cancel", "task.destroy"]


def test_events_that_are_always_lost_are_an_error() -> None:
    """Pitfall 45: EVENTS_LOST again and again ends the wait, not the processor."""
    said = Said(task_get_record=lambda: {"status": "pending"}, event_from=lambda: refuse("events-lost"))
    with pytest.raises(SourceUnavailable) as caught:
        said.result(1000)
    assert caught.value.code == "events-lost"
    assert said.asked[-1] == "task.destroy"


@pytest.mark.parametrize(
    "answers",
    [
        {"task_get_record": lambda: "no record"},
        {"task_get_record": lambda: {"status": "pending"}, "event_from": lambda: "no batch"},
        {"task_get_record": lambda: {"status": "pending"}, "event_from": lambda: {"events": [1], "token": "1"}},
        {"task_get_record": lambda: {"status": "success", "result": "<value><int>x</int></value>"}},
        {"task_get_record": lambda: {"status": "success", "result": "<value"}},
    ],
)
def test_tasks_that_are_none_are_errors(answers: dict[str, Callable[[], Any]]) -> None:
    """What is no task of XenAPI is an error of ours, and destroyed all the same."""
    said = Said(**answers)
    with pytest.raises(SourceInvalid) as caught:
        said.result()
    assert caught.value.code == "answer-unreadable"
    assert said.asked[-1] == "task.destroy"


def test_a_failure_to_destroy_hides_nothing() -> None:
    """What a task made is returned although the task itself stays."""
    said = Said(
        task_get_record=lambda: {"status": "success", "result": "<value>OpaqueRef:2</value>"},
        task_destroy=lambda: refuse("reply-lost"),
    )
    assert said.result() == "OpaqueRef:2"
    said = Said(task_get_record=lambda: refuse("server-silent"))
    with pytest.raises(AdapterError) as caught:
        said.result()
    assert caught.value.code == "server-silent"


@pytest.mark.parametrize(
    ("result", "value"),
    [
        ("", ""),
        ("<value>OpaqueRef:1</value>", "OpaqueRef:1"),
        ("<value><string>a &amp; b</string></value>", "a & b"),
        ("<value><boolean>1</boolean></value>", True),
        ("<value><array><data><value>a</value></data></array></value>", ["a"]),
        ("<value></value>", ""),
        ("OpaqueRef:1", "OpaqueRef:1"),
    ],
)
def test_results_are_unwrapped(result: str, value: object) -> None:
    """A result is a value in XML, nothing, or plain text as very old pools have it."""
    assert unwrapped(result, "It failed") == value

"""Waiting for tasks: every wait ends, and none ends wrongly."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from pyVmomi import vim

from adapters.errors import SourceDenied, SourceNotFound, SourceUnavailable
from adapters.vmware.properties import read_all
from adapters.vmware.session import Session, Timing
from adapters.vmware.tasks import TaskFailed, TaskWaiter
from tests.adapters.vmware.conftest import MakeSession, lose_patience
from tests.support.soap_proxy import SoapProxy
from tests.support.vcsim_process import Vcsim

WHAT = "The task did not end well"
PLENTY = 240
"""Seconds, for what ends by itself."""


def running(answer: bytes) -> bytes:
    """What the server would say while the task goes on."""
    for state in (b"success", b"error"):
        answer = answer.replace(b'TaskInfoState">' + state, b'TaskInfoState">running')
    return answer


def no_news(answer: bytes) -> bytes:
    """The answer of a wait in which nothing changed."""
    start, end = answer.index(b"<returnval"), answer.rindex(b"</returnval>") + len(b"</returnval>")
    return answer[:start] + answer[end:]


class Clock:
    """Moves on by `step` at each look."""

    def __init__(self, step: float) -> None:
        self.now, self.step = 0.0, step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


@pytest.fixture
def session(behind: Vcsim, session_of: MakeSession) -> Session:
    """A session through the proxy, with short waits at the server."""
    return session_of(behind, Timing(call_seconds=PLENTY, wait_seconds=1))


@pytest.fixture
def start(session: Session) -> Callable[[], vim.Task]:
    """Start a task that takes a snapshot."""
    machine = session.bound(vim.VirtualMachine, read_all(session, vim.VirtualMachine, ["name"])[0].moref)
    return lambda: session.effect(WHAT, lambda: machine.CreateSnapshot_Task("a", "b", False, False))


def test_a_task_gives_its_result(session: Session, start: Callable[[], vim.Task], proxy: SoapProxy) -> None:
    """The result is what the server made, and the server keeps no collector of ours."""
    snapshot = TaskWaiter(session).wait(start(), WHAT, seconds=PLENTY)
    assert isinstance(snapshot, vim.vm.Snapshot)
    assert proxy.rules.seen.count("CreatePropertyCollector") == proxy.rules.seen.count("DestroyPropertyCollector") == 1


def test_a_failed_task_raises_its_fault(session: Session) -> None:
    """The server's fault is handed on, and translated."""
    machine = session.bound(vim.VirtualMachine, read_all(session, vim.VirtualMachine, ["name"])[0].moref)
    task = session.effect(WHAT, machine.PowerOnVM_Task)
    with pytest.raises(TaskFailed) as caught:
        TaskWaiter(session).wait(task, WHAT, seconds=PLENTY)
    assert isinstance(caught.value.fault, vim.fault.InvalidPowerState)
    assert caught.value.error.code == "power-state"


def test_a_task_that_does_not_end_is_cancelled(
    session: Session, start: Callable[[], vim.Task], proxy: SoapProxy
) -> None:
    """At the deadline the server is asked to cancel, and the wait ends."""
    proxy.rules.rewrite["WaitForUpdatesEx"] = running
    with pytest.raises(SourceUnavailable) as caught:
        TaskWaiter(session, clock=Clock(10)).wait(start(), WHAT, seconds=35)
    assert caught.value.code == "task-timeout"
    assert "CancelTask" in proxy.rules.seen


def test_a_server_without_news_does_not_hold_us(
    session: Session, start: Callable[[], vim.Task], proxy: SoapProxy
) -> None:
    """Waits in which nothing changes are bounded at the server, and in sum by the deadline."""
    proxy.rules.rewrite["WaitForUpdatesEx"] = no_news
    with pytest.raises(SourceUnavailable) as caught:
        TaskWaiter(session, clock=Clock(10)).wait(start(), WHAT, seconds=45)
    assert caught.value.code == "task-timeout"
    assert 2 <= proxy.rules.seen.count("WaitForUpdatesEx") <= 4


def test_a_silent_server_does_not_hold_us(
    behind: Vcsim, session_of: MakeSession, start: Callable[[], vim.Task], proxy: SoapProxy
) -> None:
    """A server that does not answer the wait at all is an error after the call's own timeout."""
    task = start()
    impatient = session_of(behind, Timing(wait_seconds=1))
    lose_patience(impatient)
    proxy.rules.silent.add("WaitForUpdatesEx")
    with pytest.raises(SourceUnavailable) as caught:
        TaskWaiter(impatient).wait(impatient.bound(vim.Task, task._moId), WHAT, seconds=PLENTY)
    assert caught.value.code == "server-silent"


def test_we_can_be_stopped(session: Session, start: Callable[[], vim.Task], proxy: SoapProxy) -> None:
    """A stop is obeyed between two waits, and cancels the task."""
    proxy.rules.rewrite["WaitForUpdatesEx"] = running
    answers = iter([False, False, True])
    with pytest.raises(SourceUnavailable) as caught:
        TaskWaiter(session, stopped=lambda: next(answers)).wait(start(), WHAT, seconds=PLENTY)
    assert caught.value.code == "task-stopped"
    assert "CancelTask" in proxy.rules.seen


@pytest.mark.parametrize("fault", ["NotAuthenticated", "RequestCanceled", "InvalidCollectorVersion"])
def test_a_lost_collector_is_made_again(
    session: Session, start: Callable[[], vim.Task], proxy: SoapProxy, fault: str
) -> None:
    """A session, a wait or a collector that ends under us costs nothing: the task's end is learned all the same."""
    task = start()
    proxy.rules.faults["WaitForUpdatesEx"] = [fault]
    proxy.rules.rewrite["RetrievePropertiesEx"] = running
    assert isinstance(TaskWaiter(session).wait(task, WHAT, seconds=PLENTY), vim.vm.Snapshot)
    assert proxy.rules.seen.count("WaitForUpdatesEx") == 2
    assert proxy.rules.seen.count("CreatePropertyCollector") == 2


def test_a_session_that_keeps_dying_is_an_error(
    session: Session, start: Callable[[], vim.Task], proxy: SoapProxy
) -> None:
    """No wait spins on a session that is ended again and again."""
    task = start()
    proxy.rules.faults["WaitForUpdatesEx"] = ["RequestCanceled"] * 50
    proxy.rules.rewrite["RetrievePropertiesEx"] = running
    with pytest.raises(SourceDenied) as caught:
        TaskWaiter(session).wait(task, WHAT, seconds=PLENTY)
    assert caught.value.code == "session-lost"


def test_a_task_that_is_gone_is_an_error(session: Session) -> None:
    """A task that the server does not know has not succeeded."""
    with pytest.raises(SourceNotFound):
        TaskWaiter(session).wait(session.bound(vim.Task, "task-of-yesterday"), WHAT, seconds=PLENTY)


def test_a_truncated_answer_is_followed(session: Session, start: Callable[[], vim.Task], proxy: SoapProxy) -> None:
    """An answer that holds a part only is no end: the next wait has the rest."""
    cut = [True]

    def truncate(answer: bytes) -> bytes:
        if not cut:
            return answer
        cut.pop()
        start, end = answer.index(b"<filterSet>"), answer.rindex(b"</filterSet>") + len(b"</filterSet>")
        return answer[:start] + answer[end:].replace(b"</returnval>", b"<truncated>true</truncated></returnval>")

    proxy.rules.rewrite["WaitForUpdatesEx"] = truncate
    assert isinstance(TaskWaiter(session).wait(start(), WHAT, seconds=PLENTY), vim.vm.Snapshot)

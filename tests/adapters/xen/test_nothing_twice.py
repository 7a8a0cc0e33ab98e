"""Whatever becomes of a reply, a pool hears a call with an effect once; reads are repeated."""

from __future__ import annotations

import pytest

from adapters.errors import SourceUnavailable
from adapters.xen.session import Timing, is_read
from tests.adapters.xen.conftest import MakeSession
from tests.support.eventually import at_last
from tests.support.xapi import XapiSimulator
from tests.support.xapi.faults import Action, CutReply, ExpireSessions, Fail, Garbage, LoseReply, StaySilent
from tests.support.xapi.published import PUBLISHED

HURRIED = Timing(call_seconds=0.5, event_seconds=0.2, search_seconds=0.5, search_pause_seconds=0.05)


@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("through_a_task", [False, True])
def test_a_lost_reply_is_not_sent_again(
    pool: XapiSimulator, session_of: MakeSession, before: bool, through_a_task: bool
) -> None:
    """Pitfall 29: when the reply to VM.snapshot is lost, the pool was asked once, and the caller is told to look."""
    session, arguments = session_of(pool), ("VM.snapshot", pool.vm("web"), "ours", [])
    session.call("pool.get_all")
    pool.faults.on("VM.snapshot", LoseReply(before))
    with pytest.raises(SourceUnavailable) as caught:
        (session.task if through_a_task else session.call)(*arguments)
    assert caught.value.code == "reply-lost"
    session.close()
    pool.finish_tasks()
    assert pool.snapshots("web") == ([] if before else ["ours"])


@pytest.mark.parametrize(
    "action",
    [
        Garbage(b"<html>proxy error</html>", 502),
        Garbage(b"no XML at all"),
        CutReply(),
        Garbage(b"<?xml version='1.0'?><methodResponse><params></params></methodResponse>"),
        ExpireSessions(),
        Fail("SESSION_INVALID", ("OpaqueRef:x",)),
        Fail("HOST_IS_SLAVE", ("127.0.0.1",)),
    ],
)
def test_whatever_spoils_an_effect_it_is_not_sent_again(
    pool: XapiSimulator, session_of: MakeSession, action: Action
) -> None:
    """Pitfall 29: neither an unreadable reply nor a session that ends makes a call with an effect go out twice."""
    session = session_of(pool)
    session.call("pool.get_all")
    pool.faults.on("VM.snapshot", action)
    with pytest.raises(SourceUnavailable) as caught:
        session.call("VM.snapshot", pool.vm("web"), "ours", [])
    assert caught.value.code == "reply-lost"
    assert len(pool.snapshots("web")) == (1 if isinstance(action, Garbage | CutReply) else 0)
    assert pool.calls["VM.snapshot"] == len(pool.snapshots("web"))


def test_a_silent_host_gets_an_effect_once(pool: XapiSimulator, session_of: MakeSession) -> None:
    """A host that takes a call and never answers is an error after the time a call may take, not a wait."""
    session = session_of(pool, HURRIED)
    at_last(lambda: session.call("pool.get_all"), SourceUnavailable, "a login in time")
    pool.faults.on("VM.snapshot", StaySilent())
    with pytest.raises(SourceUnavailable) as caught:
        session.call("VM.snapshot", pool.vm("web"), "ours", [])
    assert caught.value.code == "reply-lost"
    assert "in time" in caught.value.why
    pool.faults.on("VM.get_record", StaySilent())
    with pytest.raises(SourceUnavailable) as caught:
        session.call("VM.get_record", pool.vm("web"))
    assert caught.value.code == "server-silent"
    assert pool.snapshots("web") == []


def test_an_effect_is_not_lost_on_a_connection_that_was_idle(pool: XapiSimulator, session_of: MakeSession) -> None:
    """Connections that the host closed while they were idle are found out by a read, so the effect after it arrives."""
    session = session_of(pool)
    session.call("pool.get_all")
    pool.cut_connections()
    session.call("VM.snapshot", pool.vm("web"), "ours", [])
    assert pool.snapshots("web") == ["ours"]
    assert session.epoch == 1


@pytest.mark.parametrize("action", [LoseReply(), CutReply()])
def test_a_read_is_repeated_on_a_new_connection(pool: XapiSimulator, session_of: MakeSession, action: Action) -> None:
    """A read whose connection breaks is sent again, without a new login; one that always breaks fails in the end."""
    session = session_of(pool)
    pool.faults.on("VDI.get_virtual_size", action)
    assert session.call("VDI.get_virtual_size", pool.vdi("web")) == 4 << 20
    assert (pool.calls["VDI.get_virtual_size"], session.epoch) == (2, 1)
    pool.faults.on("VDI.get_virtual_size", action, times=100)
    with pytest.raises(SourceUnavailable):
        session.call("VDI.get_virtual_size", pool.vdi("web"))


def test_only_reads_are_taken_for_reads() -> None:
    """Every published method that we would repeat only tells something."""
    harmless = {"event.from", "VDI.list_changed_blocks"}
    for name in PUBLISHED.methods:
        assert is_read(name) == (name.split(".")[1].startswith("get_") or name in harmless)
        assert not is_read(f"Async.{name}")


@pytest.mark.parametrize("action", [ExpireSessions(), LoseReply(), LoseReply(before=True), CutReply()])
def test_whatever_is_lost_wherever_an_effect_comes_once(
    pool: XapiSimulator, session_of: MakeSession, action: Action
) -> None:
    """Pitfalls 29 and 30: at whichever of a job's calls something goes wrong, no snapshot is ever made twice."""
    vm, outcomes = pool.vm("web"), set()
    for call in range(12):
        session, name = session_of(pool), f"ours {call}"
        pool.faults.on("*", action, after=call)
        try:
            session.task("VM.snapshot", vm, name, [])
        except SourceUnavailable as error:
            outcomes.add(error.code)
        else:
            assert pool.snapshots("web").count(name) == 1
        session.close()
        pool.finish_tasks()
        pool.faults.clear()
        assert pool.snapshots("web").count(name) <= 1
    assert {"reply-lost"} <= outcomes <= {"reply-lost", "server-unreachable"}

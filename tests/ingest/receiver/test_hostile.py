"""Agents that break the protocol, lose connections, go slow or lie: a run fails clearly, or goes on as before."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from dataclasses import replace
from random import Random
from uuid import uuid4

import msgspec
import pytest

from catalog.domain import events as ev
from ingest.agent import protocol as said
from ingest.agent.frames import MAX_BODY_BYTES
from ingest.agent.protocol import PREFIX, RunFailed
from tests.support.agent_lab import AgentLab, Receiving
from tests.support.agent_peer import AgentPeer, disk
from tests.support.eventually import eventually
from tests.support.lab import CHUNK, MIB

CONTENT = Random(1).randbytes(MIB)


@pytest.fixture
def peer(agents: AgentLab, door: Receiving) -> AgentPeer:
    """An agent of the machine web, played by the test."""
    return door.peer(agents.secret("web"))


def _until(peer: AgentPeer, kind: type[said.Asked]) -> said.Question:
    """Answer rightly until a question of a kind comes; it is left unanswered."""
    while (work := peer.work()).outcome is None:
        for question in work.questions:
            if isinstance(question, kind):
                return question
            assert peer.reply_to(question, CONTENT).status == 200
    raise AssertionError(work.outcome)


def _failed(peer: AgentPeer, code: str) -> None:
    """The run must end without a restore point, for this reason."""
    outcome = peer.play(CONTENT)
    assert isinstance(outcome, RunFailed), outcome
    assert outcome.code == code, outcome


def test_played_rightly_it_makes_a_point(agents: AgentLab, peer: AgentPeer) -> None:
    """What these tests break works when it is not broken."""
    assert peer.open("web", disk(MIB)).status == 200
    made = peer.play(CONTENT)
    assert isinstance(made, said.PointMade)
    assert agents.lab.restored(made.restore_point_id.hex) == CONTENT


def test_a_damaged_frame_is_refused_and_sent_again(agents: AgentLab, peer: AgentPeer) -> None:
    """A frame with a flipped bit is not taken; the right one, sent after it, is."""
    peer.open("web", disk(MIB))
    asked = _until(peer, said.AskBytes)
    assert isinstance(asked, said.AskBytes)
    frame = bytearray(peer.frame(asked, CONTENT))
    frame[-1] ^= 1
    refused = peer.put_frame(asked.number, bytes(frame))
    assert (refused.status, refused.code) == (400, "frame-damaged")
    assert peer.put_frame(asked.number, peer.frame(asked, CONTENT)).status == 200
    made = peer.play(CONTENT)
    assert isinstance(made, said.PointMade)
    assert agents.lab.restored(made.restore_point_id.hex) == CONTENT


def test_a_frame_of_another_question_is_no_answer(peer: AgentPeer) -> None:
    """A replayed frame does not pass for the answer to another question, nor for one of another run."""
    first = uuid4()
    peer.open("web", disk(MIB), request_id=first)
    asked = _until(peer, said.AskBytes)
    assert isinstance(asked, said.AskBytes)
    other = peer.frame(asked, CONTENT, number=asked.number + 1)
    assert peer.put_frame(asked.number, other).code == "frame-damaged"
    old = peer.frame(asked, CONTENT)
    assert peer.open("web", disk(MIB), replaces=(uuid4(), first)).status == 200
    again = _until(peer, said.AskBytes)
    assert peer.put_frame(again.number, old).code == "frame-damaged"


def test_an_answer_counts_once(agents: AgentLab, peer: AgentPeer) -> None:
    """A frame sent twice, the second time with other bytes, is taken the first time only."""
    peer.open("web", disk(MIB))
    asked = _until(peer, said.AskBytes)
    assert isinstance(asked, said.AskBytes)
    assert peer.put_frame(asked.number, peer.frame(asked, CONTENT)).status == 200
    assert peer.put_frame(asked.number, peer.frame(asked, bytes(MIB))).status == 200
    made = peer.play(CONTENT)
    assert isinstance(made, said.PointMade)
    assert agents.lab.restored(made.restore_point_id.hex) == CONTENT


def test_what_was_not_asked_is_refused(peer: AgentPeer) -> None:
    """An answer to a question that is yet to come is a conflict, and changes nothing."""
    peer.open("web", disk(MIB))
    assert peer.answer(1_000, said.Released()).code == "agent-unasked"
    assert peer.put_frame(1_000, b"x" * 100).code == "agent-unasked"
    assert isinstance(peer.play(CONTENT), said.PointMade)


def test_asking_again_changes_nothing(agents: AgentLab, peer: AgentPeer) -> None:
    """Opening again with the same request finds the run, then its restore point: there is one, however often."""
    request = uuid4()
    peer.open("web", disk(MIB), request_id=request)
    first = peer.run_id
    assert peer.open("web", disk(MIB), request_id=request).status == 200
    assert peer.run_id == first
    made = peer.play(CONTENT)
    assert peer.open("web", disk(MIB), request_id=request).status == 200
    assert peer.work().outcome == made
    assert len(agents.lab.json("points")) == 1


def test_asked_again_of_a_new_receiver_it_finds_the_point(agents: AgentLab, peer: AgentPeer) -> None:
    """A receiver that does not know the run any more answers the same request with the point that was made."""
    request = uuid4()
    peer.open("web", disk(MIB), request_id=request)
    made = peer.play(CONTENT)
    assert isinstance(made, said.PointMade)
    with agents.receiving_here() as other:
        again = other.peer(peer.secret)
        assert again.open("web", disk(MIB), request_id=request).status == 200
        assert again.play(CONTENT) == made
    assert len(agents.lab.json("points")) == 1


def test_one_agent_for_a_machine(agents: AgentLab, door: Receiving, peer: AgentPeer) -> None:
    """A second agent is refused while the first is at it, with the same token or another; the first goes on."""
    mine = uuid4()
    peer.open("web", disk(MIB), request_id=mine)
    same = replace(peer, opened=None)
    other = door.peer(agents.secret("web2", "agent/web*"))
    for second in (same, other):
        refused = second.open("web", disk(MIB), replaces=(uuid4(),))
        assert (refused.status, refused.code) == (409, "agent-busy")
    assert other.open("web", disk(MIB), replaces=(mine,)).code == "agent-busy"
    assert isinstance(peer.play(CONTENT), said.PointMade)


def test_runs_of_a_token_are_limited(agents: AgentLab, door: Receiving) -> None:
    """A token has so many runs at once, however many machines it may send for; ended ones make room."""
    secret = agents.secret("many", "agent/*")
    peers = [door.peer(secret) for _ in range(3)]
    assert [one.open(f"m{number}", disk(MIB)).status for number, one in enumerate(peers)] == [200, 200, 429]
    assert isinstance(peers[0].play(CONTENT), said.PointMade)
    assert peers[2].open("m2", disk(MIB)).status == 200


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (said.Extents(extents=((0, MIB - 1, False),), next=None), "agent-extents"),
        (said.Extents(extents=((0, MIB + 1, False),), next=None), "agent-extents"),
        (said.Extents(extents=((0, CHUNK, False), (0, MIB, False)), next=None), "agent-extents"),
        (said.Extents(extents=((CHUNK, MIB - CHUNK, False),), next=None), "agent-extents"),
        (said.Extents(extents=((0, 0, False),), next=None), "agent-extents"),
        (said.Extents(extents=((-1, MIB + 1, False),), next=None), "agent-extents"),
        (said.Extents(extents=(), next=0), "agent-extents"),
        (said.Extents(extents=(), next=MIB + 1), "agent-extents"),
        (said.Extents(extents=((0, MIB, False),), next=CHUNK), "agent-extents"),
        (said.Released(), "agent-answer"),
        (said.Copied(blocks=(0,)), "agent-answer"),
    ],
)
def test_nonsense_ends_the_run(agents: AgentLab, peer: AgentPeer, answer: said.Answer, code: str) -> None:
    """Extents that overlap, leave gaps, leave the disk or never end, and answers of another kind, make no point."""
    peer.open("web", disk(MIB))
    asked = _until(peer, said.AskExtents)
    assert peer.answer(asked.number, answer).status == 200
    _failed(peer, code)
    assert agents.lab.json("points") == []
    assert agents.lab.of_type(ev.BackupFailed)[-1].code == code


def test_places_that_the_base_has_not_are_refused(agents: AgentLab, peer: AgentPeer) -> None:
    """An agent names places of its base only when asked to, and only such as there are."""
    peer.open("web", disk(MIB))
    asked = _until(peer, said.AskBytes)
    assert isinstance(asked, said.AskBytes)
    assert not asked.copy
    peer.answer(asked.number, said.Copied(blocks=tuple(range(asked.length // CHUNK))))
    _failed(peer, "agent-answer")
    assert agents.lab.json("points") == []


def test_places_behind_the_end_of_the_base_are_refused(peer: AgentPeer) -> None:
    """A place that the base does not have, and one that would vouch for itself, end the run."""
    peer.open("web", disk(MIB))
    opened = peer.opened
    assert isinstance(peer.play(CONTENT), said.PointMade)
    assert opened is not None
    for block in (1000, 0):
        assert peer.open("web", disk(MIB, "/dev/vda", opened.token)).status == 200
        asked = _until(peer, said.AskChanges)
        peer.answer(asked.number, said.Extents(extents=((0, CHUNK, False),), next=None))
        question = _until(peer, said.AskBytes)
        while not (isinstance(question, said.AskBytes) and question.offset == 0):
            assert peer.reply_to(question, CONTENT).status == 200
            question = _until(peer, said.AskBytes)
        assert isinstance(question, said.AskBytes)
        assert question.copy
        peer.answer(question.number, said.Copied(blocks=(block,)))
        _failed(peer, "agent-copied")


def test_what_an_agent_says_of_a_failure_is_recorded(agents: AgentLab, peer: AgentPeer) -> None:
    """The agent's own reason is the run's, without what could steer a terminal, and comes back to it."""
    peer.open("web", disk(MIB))
    asked = _until(peer, said.AskBytes)
    failed = said.Failed(kind="conflict", code="agent-changed", what="it \x1b[31m changed", why="so", hint="again")
    assert peer.answer(asked.number, failed).status == 200
    _failed(peer, "agent-changed")
    (recorded,) = agents.lab.of_type(ev.BackupFailed)
    assert (recorded.kind, recorded.code) == ("conflict", "agent-changed")
    assert "\x1b" not in recorded.why


@pytest.mark.parametrize(
    "fields",
    [
        {"machine": "../x"},
        {"machine": "a/b"},
        {"machine": ""},
        {"disks": []},
        {"protocol": 2},
        {"consistency": "perfect"},
        {"fallback_cause": "\x1b"},
        {"more": 1},
        {"disks": [{"key": "x"}]},
        {"disks": [msgspec.to_builtins(disk(0))]},
        {"disks": [msgspec.to_builtins(disk(1 << 60))]},
        {"disks": [msgspec.to_builtins(disk(MIB, "/dev/vda", "token"))]},
        {"disks": [msgspec.to_builtins(disk(MIB))] * 2},
        {"disks": [msgspec.to_builtins(disk(MIB, f"/dev/{number}")) for number in range(65)]},
    ],
)
def test_a_wish_that_is_none_opens_nothing(agents: AgentLab, peer: AgentPeer, fields: dict[str, object]) -> None:
    """What is not as documented, or beyond a limit, is refused before anything of it is recorded."""
    wish = {**msgspec.json.decode(peer.wish("web", disk(MIB))), **fields}
    refused = peer.ask("POST", "/runs", msgspec.json.encode(wish))
    assert refused.status in (400, 422)
    assert agents.lab.of_type(ev.RunOpened) == []
    assert agents.lab.of_type(ev.MachineSeen) == []


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b'{"type":"no"}', b"[" * 100_000])
def test_bodies_that_are_none(peer: AgentPeer, body: bytes) -> None:
    """What is no JSON, or none that is known, is refused, as an answer too."""
    assert peer.ask("POST", "/runs", body).code == "body-invalid"
    peer.open("web", disk(MIB))
    asked = _until(peer, said.AskExtents)
    assert peer.ask("PUT", f"/runs/{peer.run_id}/answers/{asked.number}", body).code == "body-invalid"
    assert peer.reply_to(asked, CONTENT).status == 200
    assert isinstance(peer.play(CONTENT), said.PointMade)


def test_oversized_bodies_are_refused(peer: AgentPeer) -> None:
    """A body larger than a frame, or than what JSON may be, is refused by its length before it is read."""
    peer.open("web", disk(MIB))
    asked = _until(peer, said.AskBytes)
    large = peer.put_frame(asked.number, bytes(MAX_BODY_BYTES + 1))
    assert (large.status, large.code) == (413, "body-size")
    assert peer.ask("POST", "/runs", bytes(said.MAX_JSON_BYTES + 1)).code == "body-size"
    assert peer.reply_to(asked, CONTENT).status == 200
    assert isinstance(peer.play(CONTENT), said.PointMade)


def _raw(door: Receiving, head: str, body: bytes) -> Iterator[ssl.SSLSocket]:
    context = ssl.create_default_context(cafile=str(door.lab.authority.ca_file))
    with (
        socket.create_connection(("127.0.0.1", door.port), timeout=30) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as wrapped,
    ):
        wrapped.sendall(head.replace("\n", "\r\n").encode() + b"\r\n" + body)
        yield wrapped


def test_a_connection_lost_in_a_frame_leaves_nothing(agents: AgentLab, door: Receiving, peer: AgentPeer) -> None:
    """Half a frame is no frame: the question stays, and is answered over another connection."""
    peer.open("web", disk(MIB))
    asked = _until(peer, said.AskBytes)
    assert isinstance(asked, said.AskBytes)
    frame = peer.frame(asked, CONTENT)
    head = (
        f"PUT {PREFIX}/runs/{peer.run_id}/frames/{asked.number} HTTP/1.1\nHost: localhost\n"
        f"Authorization: Bearer {peer.secret}\nContent-Length: {len(frame)}\n"
    )
    for _ in _raw(door, head, frame[: len(frame) // 2]):
        pass
    assert peer.reply_to(asked, CONTENT).status == 200
    made = peer.play(CONTENT)
    assert isinstance(made, said.PointMade)
    assert agents.lab.restored(made.restore_point_id.hex) == CONTENT


def test_a_slow_body_is_given_up(agents: AgentLab) -> None:
    """A body that does not arrive in time is refused; the run waits for another attempt."""
    with agents.receiving_here(body=0.3) as door:
        peer = door.peer(agents.secret("web"))
        peer.open("web", disk(MIB))
        asked = _until(peer, said.AskBytes)
        head = (
            f"PUT {PREFIX}/runs/{peer.run_id}/frames/{asked.number} HTTP/1.1\nHost: localhost\n"
            f"Authorization: Bearer {peer.secret}\nContent-Length: 1000\n"
        )
        for wrapped in _raw(door, head, b"slow"):
            answer = wrapped.recv(4096)
            assert answer.startswith(b"HTTP/1.1 408 ")
        assert peer.reply_to(asked, CONTENT).status == 200
        assert isinstance(peer.play(CONTENT), said.PointMade)


def test_a_silent_agent_is_given_up(agents: AgentLab) -> None:
    """An agent that says nothing for too long makes room for the next one; the run is recorded as failed."""
    with agents.receiving_here(idle=2.0) as door:
        peer = door.peer(agents.secret("web"))
        peer.open("web", disk(MIB))
        _until(peer, said.AskBytes)
        eventually(lambda: agents.lab.of_type(ev.BackupFailed), "it is given up")
        _failed(peer, "agent-silent")
        assert peer.open("web", disk(MIB)).status == 200
        assert isinstance(peer.play(CONTENT), said.PointMade)
    assert agents.lab.of_type(ev.BackupFailed)[-1].code == "agent-silent"


def test_an_agent_that_never_answers_is_given_up(agents: AgentLab) -> None:
    """Polling alone keeps no run alive: a question that waits too long ends it."""
    with agents.receiving_here(answer=0.5, poll=0.1) as door:
        peer = door.peer(agents.secret("web"))
        peer.open("web", disk(MIB))
        _until(peer, said.AskBytes)
        while (reply := peer.ask("GET", f"/runs/{peer.run_id}/work?after={peer.after}")).json()["outcome"] is None:
            assert reply.status == 200
        assert reply.json()["outcome"]["code"] == "agent-late"


def test_stopping_ends_runs_and_tells_agents(agents: AgentLab) -> None:
    """A receiver that stops ends its runs, which are recorded as failed; their agents hear why."""
    with agents.receiving() as door:
        peer = door.peer(agents.secret("web"))
        peer.open("web", disk(MIB))
        _until(peer, said.AskBytes)
    assert agents.lab.of_type(ev.BackupFailed)[-1].code == "agent-receiver-stopping"
    assert agents.lab.of_type(ev.RunClosed)[-1].outcome == "failed"

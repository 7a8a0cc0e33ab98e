"""Every operation of the agents' door, asked by every role and by strangers, about runs of one's own and of others.

`OPERATIONS` is held against the door's own table. What a token does not admit must look like what does not exist, and
an answer must be the same whatever other machines have stored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from time import monotonic
from uuid import UUID, uuid4

import msgspec
import pytest

from catalog.access.caller import Role
from catalog.domain.access import AccessRecorded
from ingest.agent import protocol as said
from ingest.receiver.app import ROUTES
from tests.support.agent_lab import AgentLab, Receiving
from tests.support.agent_peer import AgentPeer, Reply, disk
from tests.support.lab import MIB

CONTENT = Random(1).randbytes(MIB)
ABSENT = UUID("00000000-0000-4000-8000-00000000dead")
Ask = Callable[[AgentPeer, UUID], Reply]
OPERATIONS: dict[str, Ask] = {
    "hello": lambda peer, run: peer.ask("GET", ""),
    "open_run": lambda peer, run: peer.ask("POST", "/runs", peer.wish("web")),
    "get_work": lambda peer, run: peer.ask("GET", f"/runs/{run}/work"),
    "put_answer": lambda peer, run: peer.ask("PUT", f"/runs/{run}/answers/1", msgspec.json.encode(said.Released())),
    "put_frame": lambda peer, run: peer.ask("PUT", f"/runs/{run}/frames/1", b"x" * 100),
    "end_run": lambda peer, run: peer.ask("DELETE", f"/runs/{run}"),
}
PEOPLE = [role for role in Role if role is not Role.AGENT]


class Door:
    """The door, and tokens of all kinds."""

    def __init__(self, agents: AgentLab, door: Receiving) -> None:
        self.agents = agents
        self.door = door
        self.web = agents.secret("web")
        self.other = agents.secret("other", "agent/other", "lab/*")
        self.people = {role: self._person(role) for role in PEOPLE}

    def _person(self, role: Role) -> str:
        return str(self.agents.lab.json("token", "create", "--role", role, "--name", f"p-{role}")["secret"])

    def peer(self, secret: str | None) -> AgentPeer:
        return self.door.peer(secret)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """One door for all that change nothing."""
    agents = AgentLab(tmp_path_factory.mktemp("door"))
    with agents.receiving_here() as door:
        yield Door(agents, door)


def test_every_operation_has_its_row() -> None:
    """An operation of the door without a row here, or a row without an operation, fails."""
    assert OPERATIONS.keys() == ROUTES.keys()


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("role", PEOPLE)
def test_people_do_not_send(world: Door, name: str, role: Role) -> None:
    """No role but the agent's may do anything here, the admin's neither; that it was refused is recorded."""
    before = len(world.agents.lab.of_type(AccessRecorded))
    refused = OPERATIONS[name](world.peer(world.people[role]), ABSENT)
    assert (refused.status, refused.code) == (403, "role-permission")
    (record,) = world.agents.lab.of_type(AccessRecorded)[before:]
    assert (record.caller, record.operation, record.status) == (f"p-{role}", name, 403)


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("stranger", ["nobody", "garbage", "guessed", "revoked"])
def test_strangers_get_nothing(world: Door, name: str, stranger: str) -> None:
    """Without a good token everything is 401, on loopback too, before a byte of the body counts."""
    secrets = {"nobody": None, "garbage": "x", "guessed": f"hf_{'0' * 32}_{'A' * 43}"}
    if stranger == "revoked":
        made = f"gone-{name.replace('_', '-')}"
        secrets["revoked"] = world.agents.secret(made, "agent/*")
        world.agents.lab.ok("token", "revoke", f"agent-{made}")
    refused = OPERATIONS[name](world.peer(secrets[stranger]), ABSENT)
    assert refused.status == 401


@pytest.mark.parametrize("name", [name for name in OPERATIONS if name not in ("hello", "open_run")])
def test_runs_of_others_do_not_exist(world: Door, name: str) -> None:
    """Asked about another token's run, the door answers to the byte what it answers about none."""
    owner = world.peer(world.web)
    assert owner.open("web", disk(MIB)).status == 200
    stranger = world.peer(world.other)
    foreign, absent = OPERATIONS[name](stranger, owner.run_id), OPERATIONS[name](stranger, ABSENT)
    assert foreign.status == absent.status == 404
    assert foreign.body.replace(str(owner.run_id).encode(), b"") == absent.body.replace(str(ABSENT).encode(), b"")
    assert isinstance(owner.play(CONTENT), said.PointMade)


def test_other_machines_do_not_exist(world: Door) -> None:
    """A machine outside the token's globs is not found, in the same words whether there is one or not."""
    owner = world.peer(world.web)
    owner.open("web", disk(MIB))
    owner.play(CONTENT)
    answers = {}
    for machine in ("web", "nosuch"):
        reply = world.peer(world.other).open(machine, disk(MIB))
        assert reply.status == 404
        answers[machine] = reply.body.replace(machine.encode(), b"")
    assert answers["web"] == answers["nosuch"]
    assert world.peer(world.other).open("other", disk(MIB)).status == 200


def test_an_agent_may_nothing_at_the_api(world: Door) -> None:
    """An agent's token names its machines, and cannot be made without: of everything it would be of nobody."""
    problem = world.agents.lab.fails(2, "token", "create", "--role", "agent")
    assert problem["code"] == "token-machines"


def test_each_run_is_recorded(tmp_path: Path) -> None:
    """Who opened a run for which machine, and who was refused one, is in the record; frames and polls are not."""
    agents = AgentLab(tmp_path)
    with agents.receiving_here() as door:
        peer = door.peer(agents.secret("web"))
        peer.open("web", disk(MIB))
        peer.play(CONTENT)
        peer.open("nosuch", disk(MIB))
        peer.ask("DELETE", f"/runs/{peer.run_id}")
    told = [(one.caller, one.operation, one.detail, one.status) for one in agents.lab.of_type(AccessRecorded)]
    assert told == [
        ("agent-web", "open_run", "machine=web", 200),
        ("agent-web", "open_run", "", 404),
        ("agent-web", "end_run", "", 200),
    ]


def test_a_revoked_token_ends_in_the_middle(world: Door) -> None:
    """A token that is revoked while its run is under way is good for no further frame."""
    peer = world.peer(world.agents.secret("short", "agent/short"))
    peer.open("short", disk(MIB))
    peer.work()
    world.agents.lab.ok("token", "revoke", "agent-short")
    assert peer.ask("GET", f"/runs/{peer.run_id}/work").status == 401


def test_answers_do_not_tell_what_others_have(tmp_path: Path) -> None:
    """Content that another machine has stored and content that nobody has are answered alike, question by question."""
    agents = AgentLab(tmp_path)
    fresh = Random(2).randbytes(MIB)
    with agents.receiving_here() as door:
        victim = door.peer(agents.secret("victim"))
        victim.open("victim", disk(MIB))
        assert isinstance(victim.play(CONTENT), said.PointMade)
        talks = []
        for name, content in (("guesses", CONTENT), ("invents", fresh)):
            peer = door.peer(agents.secret(name))
            peer.open(name, disk(MIB))
            talks.append(_talk(peer, content))
    assert talks[0] == talks[1]
    shown = {row["name"]: row["stored_bytes"] for row in agents.lab.json("machines")}
    assert shown["guesses"] < shown["invents"], "the store did not deduplicate, so there was nothing to tell"


def _talk(peer: AgentPeer, content: bytes) -> list[object]:
    """Everything that an agent hears, without what is random in it."""
    heard: list[object] = []
    while (work := peer.work()).outcome is None:
        for question in work.questions:
            heard.append(question)
            heard.append(peer.reply_to(question, content))
    assert isinstance(work.outcome, said.PointMade)
    return [*heard, msgspec.structs.replace(work.outcome, restore_point_id=ABSENT)]


def test_the_outcome_does_not_depend_on_the_store(tmp_path: Path) -> None:
    """The outcome comes a set time after the last frame, however little there was to store."""
    agents = AgentLab(tmp_path)
    with agents.receiving_here(settle=0.8) as door:
        peer = door.peer(agents.secret("web"))
        peer.open("web", disk(MIB))
        last = 0.0
        while (work := peer.work()).outcome is None:
            for question in work.questions:
                last = monotonic() if isinstance(question, said.AskBytes) else last
                peer.reply_to(question, CONTENT)
        assert monotonic() - last >= 0.8


def test_machine_keys_are_told_to_their_machines(world: Door) -> None:
    """The key that an agent digests under is its machine's: always the same, and another one than another machine's."""
    keys = []
    secret = world.agents.secret("keys", "agent/key-*")
    for machine in ("key-a", "key-b", "key-a"):
        peer = world.peer(secret)
        assert peer.open(machine, disk(MIB), request_id=uuid4()).status == 200
        assert peer.opened is not None
        keys.append(peer.opened.key)
        peer.play(CONTENT)
    assert keys[0] == keys[2] != keys[1]

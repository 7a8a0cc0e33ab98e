"""The agent's source, as the receiver sees it, passes the conformance suite of the source port.

An agent tells changes, but by comparing: the suites of sources that compare and of those that tell both hold for it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

from adapters.errors import AdapterError
from adapters.port import SnapshotRequest
from ingest.agent import protocol as said
from ingest.agent.frames import encode_frame
from ingest.receiver.exchange import Exchange
from ingest.receiver.limits import Limits
from ingest.receiver.source import AgentSource
from tests.conformance.source_port import ComparingSuite, OnlineSuite, TrackingSuite
from tests.support.agent_harness import AgentHarness, HandedRun
from tests.support.agent_lab import AgentLab, Receiving
from tests.support.agent_peer import disk
from tests.support.lab import CHUNK, MIB


@pytest.fixture(scope="module")
def handing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Receiving, str]]:
    """A door whose runs hand their sources over, and a token. A run is given up only when its successor says so."""
    agents = AgentLab(tmp_path_factory.mktemp("handing"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ingest.receiver.runs.AgentRun", HandedRun)
        with agents.receiving_here(idle=3600.0, settle=0.0) as door:
            yield door, agents.secret("web")


@pytest.fixture
def harness(handing: tuple[Receiving, str], tmp_path: Path, request: pytest.FixtureRequest) -> AgentHarness:
    """A fresh raw file and agent."""
    return AgentHarness(tmp_path, *handing, snapshots=issubclass(request.cls, OnlineSuite))


class TestFile(ComparingSuite, TrackingSuite):
    """Every guarantee, of a file that is read where it is."""

    @pytest.fixture
    def tracked(self) -> int:
        """Changes are told by comparing, so the fact says `compare`; they are as fine as chunks."""
        return CHUNK


class TestSnapshots(ComparingSuite, OnlineSuite):
    """Every guarantee, of a file that goes on being written while a snapshot of it is read."""

    @pytest.fixture
    def tracked(self) -> int:
        """Changes are told by comparing, so the fact says `compare`; they are as fine as chunks."""
        return CHUNK


def test_nothing_is_read_of_what_was_released() -> None:
    """After the release a reader raises without asking, though the agent still polls; so does a new one."""
    run, key = UUID(int=1), bytes(32)
    exchange = Exchange(run, key, Limits())
    request = said.OpenRun(
        protocol=said.VERSION,
        request_id=UUID(int=2),
        machine="web",
        full=False,
        asked="crash",
        consistency="crash",
        fallback_cause=None,
        disks=(disk(MIB),),
    )
    source = AgentSource(request, exchange, "0" * 32, chunk_bytes=CHUNK, base_of=lambda key: None)
    asked: list[said.Question] = []

    def answer() -> None:
        while not exchange.over:
            for question in exchange.questions(asked[-1].number if asked else 0, 5):
                asked.append(question)
                if isinstance(question, said.AskBytes):
                    frame = encode_frame(key, run, question.number, memoryview(bytes(question.length)))
                    exchange.answer_frame(question.number, frame)
                else:
                    exchange.answer(question.number, said.Released())

    agent = threading.Thread(target=answer)
    agent.start()
    try:
        (machine,) = source.inventory()
        snapshot = source.snapshot(machine, SnapshotRequest(label="x", bases={"/dev/vda": None}))
        frozen = snapshot.disks["/dev/vda"]
        reader = frozen.open()
        reader.pread_into(0, memoryview(bytearray(CHUNK)))
        snapshot.release(committed=True)
        for late in (reader, frozen.open()):
            with pytest.raises(AdapterError) as refused:
                late.pread_into(0, memoryview(bytearray(CHUNK)))
            assert refused.value.code == "agent-released"
            with pytest.raises(AdapterError):
                list(late.extents())
        snapshot.release(committed=True)
    finally:
        exchange.end(AdapterError("over", code="test-over"))
        agent.join(60)
    assert [type(question) for question in asked] == [said.AskBytes, said.AskRelease]

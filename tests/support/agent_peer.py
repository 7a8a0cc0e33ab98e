"""An agent that a test plays question by question, over the real door: it can answer wrongly, late or not at all."""

from __future__ import annotations

import http.client
import ssl
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import msgspec

from ingest.agent import protocol as said
from ingest.agent.frames import encode_frame
from ingest.agent.protocol import PREFIX, OfferedDisk, Opened, OpenRun, Question, Work

TIMEOUT = 60


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer of the door."""

    status: int
    body: bytes

    def json(self) -> Any:
        return msgspec.json.decode(self.body)

    @property
    def code(self) -> str:
        return str(self.json()["code"])


@dataclass(slots=True)
class AgentPeer:
    """Talks to the door on `port`; with `ca` over TLS."""

    port: int
    secret: str | None
    ca: str | None = None
    opened: Opened | None = None
    after: int = 0
    request: dict[str, Any] = field(default_factory=dict)

    def connect(self) -> http.client.HTTPConnection:
        if self.ca is None:
            return http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT)
        context = ssl.create_default_context(cafile=self.ca)
        return http.client.HTTPSConnection("localhost", self.port, timeout=TIMEOUT, context=context)

    def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> Reply:
        """One request on a connection of its own."""
        connection = self.connect()
        try:
            known = {} if self.secret is None else {"Authorization": f"Bearer {self.secret}"}
            connection.request(method, PREFIX + path, body, {**known, **headers})
            response = connection.getresponse()
            return Reply(response.status, response.read())
        finally:
            connection.close()

    def wish(self, machine: str, *disks: OfferedDisk, **fields: Any) -> bytes:
        """The body that opens a run."""
        wanted = {
            "protocol": said.VERSION,
            "request_id": uuid4(),
            "full": False,
            "asked": "crash",
            "consistency": "crash",
            "fallback_cause": None,
            **fields,
        }
        return msgspec.json.encode(OpenRun(machine=machine, disks=disks or (disk(),), **wanted))

    def open(self, machine: str, *disks: OfferedDisk, **fields: Any) -> Reply:
        """Open a run; what follows is about it."""
        reply = self.ask("POST", "/runs", self.wish(machine, *disks, **fields))
        if reply.status == 200:
            self.opened, self.after = msgspec.json.decode(reply.body, type=Opened), 0
        return reply

    @property
    def run_id(self) -> UUID:
        assert self.opened is not None
        return self.opened.run_id

    def work(self) -> Work:
        """Poll until there is a question or an outcome."""
        while True:
            reply = self.ask("GET", f"/runs/{self.run_id}/work?after={self.after}")
            assert reply.status == 200, reply
            work = msgspec.json.decode(reply.body, type=Work)
            self.after = max([self.after, *(question.number for question in work.questions)])
            if work.questions or work.outcome is not None:
                return work

    def frame(self, asked: said.AskBytes, content: bytes, *, number: int | None = None) -> bytes:
        """The right frame for a question, or one that says it is for another."""
        assert self.opened is not None
        plain = memoryview(content)[asked.offset : asked.offset + asked.length]
        return encode_frame(self.opened.key, self.run_id, asked.number if number is None else number, plain)

    def put_frame(self, number: int, frame: bytes) -> Reply:
        return self.ask("PUT", f"/runs/{self.run_id}/frames/{number}", frame)

    def answer(self, number: int, answer: said.Answer) -> Reply:
        return self.ask("PUT", f"/runs/{self.run_id}/answers/{number}", msgspec.json.encode(answer))

    def play(self, content: bytes) -> said.PointMade | said.RunFailed:
        """Answer everything rightly, all of the one disk being `content`, until the outcome."""
        while (work := self.work()).outcome is None:
            for question in work.questions:
                reply = self.reply_to(question, content)
                assert reply.status == 200, reply
        return work.outcome

    def reply_to(self, question: Question, content: bytes) -> Reply:
        """Give the right answer to a question."""
        if isinstance(question, said.AskBytes):
            return self.put_frame(question.number, self.frame(question, content))
        if isinstance(question, said.AskExtents):
            return self.answer(question.number, said.Extents(extents=((0, len(content), False),), next=None))
        if isinstance(question, said.AskChanges):
            return self.answer(question.number, said.Extents(extents=(), next=None))
        if isinstance(question, said.AskConfirm):
            return self.answer(question.number, said.Confirmed(left_out=()))
        return self.answer(question.number, said.Released())


def disk(size_bytes: int = 1 << 20, key: str = "/dev/vda", *tokens: str) -> OfferedDisk:
    """A disk to offer."""
    return OfferedDisk(
        key=key,
        size_bytes=size_bytes,
        identity=f"agent-device:{key}",
        transport="device",
        tokens=tokens,
        lost="agent-digests-missing",
    )

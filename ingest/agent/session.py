"""One run with a receiver: open it, answer what is asked until there is an outcome. Imports `ingest.agent`, `storage`.

Answers are made by a few threads; each is repeated until it is taken. A run that the receiver does not know any more,
because it was restarted, is opened anew by the same request: if it had ended, that finds what it ended with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import msgspec

from adapters.errors import AdapterError
from ingest.agent import protocol as said
from ingest.agent.connection import Line
from ingest.agent.digests import DigestFile
from ingest.agent.frames import DAMAGED, encode_frame
from ingest.agent.protocol import AnyAnswer, Failed, OfferedDisk, Opened, OpenRun, PointMade, Question, RunFailed, Work
from ingest.agent.sending import SentDisk
from ingest.agent.state import AgentState
from ingest.agent.volume import Volume
from ingest.progress import Progress
from ingest.signals import Interrupted
from storage.errors import HoldfastError, NotFound, Unavailable

WORKERS = 4
RESTARTS = 3
RESENDS = 3


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be backed up, what it has been frozen to, and what was cleaned up before."""

    machine: str
    request_id: UUID
    full: bool
    asked: said.Consistency
    consistency: said.Consistency
    fallback_cause: str | None
    cleaned: tuple[said.Cleaned, ...]


class Session:
    """Sends volumes as one restore point; `run` it once."""

    def __init__(
        self,
        line: Line,
        state: AgentState,
        volumes: Sequence[Volume],
        wish: Wish,
        *,
        chunk_bytes: int,
        progress: Progress,
        stop: Callable[[], bool],
    ) -> None:
        self._line = line
        self._state = state
        self._volumes = volumes
        self._wish = wish
        self._chunk_bytes = chunk_bytes
        self._progress = progress
        self._stop = stop

    def run(self) -> PointMade | RunFailed:
        """Send until there is an outcome. Raises what keeps it from being heard; Interrupted."""
        for _ in range(RESTARTS):
            try:
                outcome = self._once()
            except NotFound as error:
                if error.code != "agent-run-unknown":
                    raise
                continue
            if not isinstance(outcome, RunFailed) or outcome.code != "agent-receiver-stopping":
                return outcome
        raise Unavailable(
            "the receiver was restarted again and again", code="agent-restarts", hint="run the agent again"
        )

    def _once(self) -> PointMade | RunFailed:
        with ExitStack() as stack:
            bases, damaged = self._bases(stack)
            offered = tuple(self._offered(volume, bases[volume.key], damaged) for volume in self._volumes)
            opened = self._opened(offered)
            disks = {volume.key: self._disk(stack, volume, bases[volume.key], opened) for volume in self._volumes}
            outcome = _Answering(self._line, opened, disks, self._state).until_outcome(self._stop)
            self._state.note(requests=())
            return outcome

    def _bases(self, stack: ExitStack) -> tuple[dict[str, dict[str, DigestFile]], set[str]]:
        bases, damaged = {}, set()
        for volume in self._volumes:
            found, any_damaged = self._state.digests.found(volume.key, self._chunk_bytes, volume.size_bytes)
            for digests in found.values():
                stack.callback(digests.close)
            bases[volume.key] = found
            if any_damaged:
                damaged.add(volume.key)
        return bases, damaged

    def _offered(self, volume: Volume, bases: Mapping[str, DigestFile], damaged: set[str]) -> OfferedDisk:
        return OfferedDisk(
            key=volume.key,
            size_bytes=volume.size_bytes,
            identity=f"agent-{volume.transport}:{volume.key}",
            transport=volume.transport,
            tokens=tuple(bases)[: said.MAX_TOKENS],
            lost="agent-digests-damaged" if volume.key in damaged else "agent-digests-missing",
        )

    def _opened(self, offered: tuple[OfferedDisk, ...]) -> Opened:
        """Open the run. Before it is asked for it is noted, so that the next process can end it if this one dies."""
        wish = self._wish
        before = tuple(one for one in self._state.undone.requests if one != wish.request_id)
        self._state.note(requests=(*before[1 - said.MAX_REPLACED :], wish.request_id))
        request = OpenRun(
            protocol=said.VERSION,
            request_id=wish.request_id,
            machine=wish.machine,
            full=wish.full,
            asked=wish.asked,
            consistency=wish.consistency,
            fallback_cause="agent-not-frozen" if wish.fallback_cause else None,
            disks=offered,
            replaces=before[-said.MAX_REPLACED :],
            cleaned=wish.cleaned,
        )
        opened = msgspec.json.decode(self._line.request("POST", "/runs", msgspec.json.encode(request)), type=Opened)
        self._state.note(requests=(wish.request_id,))
        return opened

    def _disk(self, stack: ExitStack, volume: Volume, bases: Mapping[str, DigestFile], opened: Opened) -> SentDisk:
        path = self._state.digests.path(volume.key, opened.token)
        new = DigestFile.create(path, self._chunk_bytes, volume.size_bytes, opened.token)
        stack.callback(new.drop)
        return SentDisk(volume, bases, new, chunk_bytes=self._chunk_bytes, key=opened.key, progress=self._progress)


class _Answering:
    """The questions and answers of one run."""

    def __init__(self, line: Line, opened: Opened, disks: Mapping[str, SentDisk], state: AgentState) -> None:
        self._line = line
        self._opened = opened
        self._disks = disks
        self._state = state
        self._path = f"/runs/{opened.run_id}"

    def until_outcome(self, stop: Callable[[], bool]) -> PointMade | RunFailed:
        """Poll and answer. Told to stop, give the run up and raise Interrupted."""
        after = 0
        running: set[Future[None]] = set()
        with ThreadPoolExecutor(WORKERS, "agent") as pool:
            while True:
                if stop():
                    self._line.request("DELETE", self._path, patience=5)
                    raise Interrupted
                work = self._work(after)
                for question in work.questions:
                    after = max(after, question.number)
                    running.add(pool.submit(self._answer, question))
                if work.outcome is not None:
                    return work.outcome
                done, running = wait(running, timeout=0, return_when=FIRST_EXCEPTION)
                for future in done:
                    future.result()

    def _work(self, after: int) -> Work:
        return msgspec.json.decode(self._line.request("GET", f"{self._path}/work?after={after}"), type=Work)

    def _answer(self, question: Question) -> None:
        try:
            if isinstance(question, said.AskBytes):
                self._send(question)
                return
            answer = self._answered(question)
        except (AdapterError, HoldfastError, OSError) as error:
            if isinstance(error, HoldfastError) and error.code in ("agent-run-unknown", "agent-line", "agent-again"):
                raise
            answer = _failed(error)
        self._tell(question.number, answer)

    def _tell(self, number: int, answer: AnyAnswer) -> None:
        self._line.request("PUT", f"{self._path}/answers/{number}", msgspec.json.encode(answer))

    def _send(self, asked: said.AskBytes) -> None:
        disk = self._disks[asked.disk]
        for attempt in range(RESENDS):
            plain = disk.read(asked.offset, asked.length, copy=asked.copy)
            if isinstance(plain, said.Copied):
                self._tell(asked.number, plain)
                return
            frame = encode_frame(self._opened.key, self._opened.run_id, asked.number, plain)
            try:
                self._line.request("PUT", f"{self._path}/frames/{asked.number}", frame)
                return
            except HoldfastError as error:
                if error.code != DAMAGED or attempt == RESENDS - 1:
                    raise

    def _answered(self, question: Any) -> AnyAnswer:
        if isinstance(question, said.AskExtents):
            return self._disks[question.disk].extents(question.start)
        if isinstance(question, said.AskChanges):
            return self._disks[question.disk].changes(question.base, question.start)
        if isinstance(question, said.AskConfirm):
            return self._confirmed()
        return self._released(committed=question.committed)

    def _confirmed(self) -> said.Confirmed:
        """The digests are durable before the restore point that they are of can be."""
        for disk in self._disks.values():
            disk.complete()
        left_out = [one for disk in self._disks.values() for one in disk.volume.confirm()]
        for disk in self._disks.values():
            disk.new.finish()
        return said.Confirmed(left_out=tuple(left_out))

    def _released(self, *, committed: bool) -> said.Released:
        settle = self._state.digests.keep_only if committed else self._state.digests.forget
        for key in self._disks:
            settle(key, self._opened.token)
        return said.Released()


def _failed(error: AdapterError | HoldfastError | OSError) -> Failed:
    if isinstance(error, OSError):
        why = error.strerror or type(error).__name__
        return Failed(
            kind="unavailable", code="agent-system", what="The agent's machine refused something", why=why, hint=""
        )
    kind: Any = error.kind
    return Failed(kind=kind, code=error.code, what=_text(error.what), why=_text(error.why), hint=_text(error.hint))


def _text(text: str) -> str:
    """A text of ours as it may be sent: names of files in it can be anything."""
    return text.encode(errors="replace").decode()[:1000]

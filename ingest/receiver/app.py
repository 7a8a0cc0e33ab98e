"""The agents' door: five requests over HTTP, each by a token of the role that may send. Denies by default.

Imports this package, `catalog.access`, and of `catalog.api` the forms of its failures. Who calls is known before a byte
of a body is read; bodies are bounded in bytes and time; opening a run, ending one and every refusal are recorded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

import msgspec
from anyio import CapacityLimiter, to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from adapters.errors import SourceUnavailable
from catalog.access.caller import Caller, Permission
from catalog.access.identity import Identities
from catalog.access.journal import Access, AccessJournal
from catalog.api.problems import of_fault, of_framework, problem_response, status_of
from catalog.api.quota import Quota
from ingest.agent import protocol as said
from ingest.agent.frames import MAX_BODY_BYTES
from ingest.agent.protocol import MAX_JSON_BYTES, PREFIX, Hello, OpenRun
from ingest.receiver.limits import Limits
from ingest.receiver.runs import Runs
from storage.errors import HoldfastError, Invalid, Limit

T = TypeVar("T")
RECORDED = frozenset({"open_run", "end_run"})
MAX_URL_BYTES = 1024
HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


@dataclass(frozen=True, slots=True)
class Door:
    """What the requests are answered with."""

    runs: Runs
    identities: Identities
    journal: AccessJournal
    limits: Limits
    chunk_bytes: int


@dataclass(frozen=True, slots=True)
class Call:
    """One request of a caller who may send; `body` was read whole. Methods run in a thread and return what is told."""

    door: Door
    caller: Caller
    path: dict[str, Any]
    after: int
    body: bytes

    def hello(self) -> msgspec.Struct | None:
        """Say what an agent must know first."""
        return Hello(protocol=said.VERSION, chunk_bytes=self.door.chunk_bytes)

    def open_run(self) -> msgspec.Struct | None:
        """Open a run, or find the one that the same request opened."""
        ticket = self.door.runs.open(self.caller, _decoded(self.body, OpenRun)).ticket
        return said.Opened(run_id=ticket.run_id, key=ticket.key, token=ticket.token)

    def get_work(self) -> msgspec.Struct | None:
        """Wait for questions."""
        return self.door.runs.find(self.caller, self._run_id).work(self.after)

    def put_answer(self) -> msgspec.Struct | None:
        """Take an answer."""
        exchange = self.door.runs.find(self.caller, self._run_id).exchange
        exchange.answer(self._number, _decoded(self.body, said.AnyAnswer))
        return None

    def put_frame(self) -> msgspec.Struct | None:
        """Take the bytes that were asked for."""
        self.door.runs.find(self.caller, self._run_id).exchange.answer_frame(self._number, self.body)
        return None

    def end_run(self) -> msgspec.Struct | None:
        """Give a run up; one that is over stays what it is."""
        run = self.door.runs.find(self.caller, self._run_id)
        run.exchange.end(SourceUnavailable("The agent gave up", code="agent-gave-up", hint="Run the agent again."))
        return None

    @property
    def _run_id(self) -> UUID:
        return UUID(str(self.path["run_id"]))

    @property
    def _number(self) -> int:
        return int(self.path["number"])


Operation = Callable[[Call], msgspec.Struct | None]
RUN = PREFIX + "/runs/{run_id:uuid}"
ROUTES: dict[str, tuple[str, str, Operation, int]] = {
    "hello": ("GET", PREFIX, Call.hello, 0),
    "open_run": ("POST", PREFIX + "/runs", Call.open_run, MAX_JSON_BYTES),
    "get_work": ("GET", RUN + "/work", Call.get_work, 0),
    "put_answer": ("PUT", RUN + "/answers/{number:int}", Call.put_answer, MAX_JSON_BYTES),
    "put_frame": ("PUT", RUN + "/frames/{number:int}", Call.put_frame, MAX_BODY_BYTES),
    "end_run": ("DELETE", RUN, Call.end_run, 0),
}
"""Every operation: its method, path, what it does, and the largest body it takes."""


class Desk:
    """Answers requests of an application: bounds, identity, permission, the record, failures as problems."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._under_way = 0
        limits = door.limits
        self._quota = Quota(limits.requests_each, limits.requests, code="requests-too-many", what="requests")
        # Polls wait in threads; there is one for each request that is let in.
        self._threads = CapacityLimiter(door.limits.requests)

    def endpoint(self, name: str, operation: Operation, body_bytes: int) -> Callable[[Request], Awaitable[Response]]:
        """The handler of an operation."""

        async def handle(request: Request) -> Response:
            self._under_way += 1
            try:
                return await self._answered(request, name, operation, body_bytes)
            finally:
                self._under_way -= 1

        return handle

    async def _answered(self, request: Request, name: str, operation: Operation, body_bytes: int) -> Response:
        caller: Caller | None = None
        give_back: Callable[[], None] = _nothing
        try:
            self._admit(request)
            caller = await self._in_thread(self._identified, request)
            caller.require(Permission.SEND)
            request.state.known = True
            give_back = self._quota.take(caller.name)
            body = await self._body(request, body_bytes)
            call = Call(self._door, caller, dict(request.path_params), _after(request), body)
            answer = await self._in_thread(operation, call)
            if name in RECORDED:
                await self._in_thread(self._record, caller, request, name, call, 200)
            return Response(b"" if answer is None else msgspec.json.encode(answer), 200, HEADERS, "application/json")
        except ClientDisconnect:
            return Response(status_code=400)
        except HoldfastError as error:
            return await self._refused(request, name, caller, error)
        except Exception as error:  # noqa: BLE001 - a fault of ours is logged, and told without its text
            return problem_response(of_fault(error), request.url.path)
        finally:
            give_back()

    async def _refused(self, request: Request, name: str, caller: Caller | None, error: HoldfastError) -> Response:
        if caller is not None:
            try:
                await self._in_thread(self._record, caller, request, name, None, status_of(error))
            except HoldfastError as failure:
                error = failure
        return problem_response(error, request.url.path, known_caller=caller is not None)

    def _admit(self, request: Request) -> None:
        if self._under_way > self._door.limits.requests:
            raise Limit("too many requests are under way", code="requests-too-many", hint="try again soon")
        if len(request.scope["raw_path"]) + len(request.scope["query_string"]) > MAX_URL_BYTES:
            raise Limit(f"the URL is longer than {MAX_URL_BYTES} bytes", code="url-length")

    def _identified(self, request: Request) -> Caller:
        return self._door.identities.identify(request.headers.get("authorization"), _address(request))

    async def _body(self, request: Request, most: int) -> bytes:
        declared = request.headers.get("content-length", "")
        if declared.isdigit() and int(declared[:20]) > most:
            raise _too_large(most)
        taken = bytearray()
        try:
            async with asyncio.timeout(self._door.limits.body):
                async for piece in request.stream():
                    taken += piece
                    if len(taken) > most:
                        raise _too_large(most)
        except TimeoutError:
            raise Limit("the body did not arrive in time", code="body-slow") from None
        return bytes(taken)

    def _record(self, caller: Caller, request: Request, name: str, call: Call | None, status: int) -> None:
        opened = name == "open_run" and call is not None
        detail = f"machine={_decoded(call.body, OpenRun).machine}" if opened and call is not None else ""
        access = Access(caller, name, request.url.path, detail, _address(request), status)
        self._door.journal.record(access)

    async def _in_thread(self, work: Callable[..., T], *values: object) -> T:
        return await to_thread.run_sync(work, *values, limiter=self._threads)


def create_app(door: Door) -> Starlette:
    """The application over `door`, which stays its owner's."""
    desk = Desk(door)
    routes = [
        Route(path, desk.endpoint(name, operation, body_bytes), methods=[method], name=name)
        for name, (method, path, operation, body_bytes) in ROUTES.items()
    ]
    return Starlette(routes=routes, exception_handlers={HTTPException: _framework})


async def _framework(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise TypeError from error
    return problem_response(of_framework(error), request.url.path)


def _nothing() -> None:
    """Give back what was not taken."""


def _after(request: Request) -> int:
    text = request.query_params.get("after", "0")
    if not (text.isdigit() and len(text) <= 18):
        raise Invalid("`after` is the number of a question", code="parameter-invalid")
    return int(text)


def _decoded(body: bytes, form: Any) -> Any:
    try:
        return msgspec.json.decode(body, type=form)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Invalid("the body is not as documented", code="body-invalid", why=str(error)[:300]) from None


def _too_large(most: int) -> Limit:
    return Limit(f"the body is larger than {most} bytes", code="body-size")


def _address(request: Request) -> str:
    return request.client.host if request.client else ""

"""What every operation is given: an `Ask` with its caller, who was identified and may do this. Denies by default.

Imports `catalog.api`, `catalog.access` and `catalog.queries`. `needs` is for all operations, `needs_index` for those
that are answered from the index at a position, `needs_page` for its lists. Parameters nobody declared are refused.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Annotated, Any

import pyarrow as pa
from fastapi import Depends, Query, Request
from starlette.responses import Response

from catalog.access.caller import Caller, Permission
from catalog.access.journal import Access
from catalog.answers import MEDIA_TYPES, AnswerFormat, encode
from catalog.api.asof import MAX_POSITION, parse_as_of, reached, settled_as_of, wait_for
from catalog.api.batching import Batched
from catalog.api.negotiate import chosen_format
from catalog.api.paging import Cursors, Question
from catalog.api.problems import DONE
from catalog.api.replies import CACHE, ENCODER, VARY, Deferred, Reply, list_reply, matches, one_reply, strong_tag
from catalog.api.services import ApiServices
from catalog.api.streams import Stream, closing_all
from catalog.queries.asked import MAX_LIMIT, Asked, Key, Page
from storage.errors import HoldfastError, Invalid, Unavailable

AsOfQuery = Annotated[
    str | None,
    Query(max_length=64, description="Answer as the catalog stood: a log position, or an RFC 3339 time."),
]
MinPositionQuery = Annotated[
    int | None,
    Query(ge=0, le=MAX_POSITION, description="Wait up to 5 s until the index has reached this log position."),
]
LimitQuery = Annotated[int, Query(ge=1, le=MAX_LIMIT, description="Rows a page.")]
CursorQuery = Annotated[
    str | None, Query(max_length=2048, description="`next` of the page before, with all its other parameters.")
]


class Ask:
    """One request of a caller who may make it."""

    def __init__(self, request: Request, services: ApiServices, caller: Caller) -> None:
        self.request = request
        self.services = services
        self.caller = caller
        self.operation = operation_of(request)
        self.asked = Asked(caller.scope)
        self.detail = ""
        self.done = ""
        self.recorded_at: int | None = None

    @property
    def address(self) -> str:
        """Where the request comes from."""
        return address_of(self.request)

    @property
    def question(self) -> Question:
        """What a cursor of this request is bound to."""
        parameters = self.request.query_params.multi_items()
        return Question.of(self.operation, self.request.url.path, parameters, self.caller.scope)

    @property
    def cursors(self) -> Cursors:
        """What signs cursors."""
        cursors: Cursors = self.request.app.state.cursors
        return cursors

    def record(self, detail: str = "", status: int = 200) -> int:
        """Record the call, once and durably, before anything of its answer leaves; return the position.

        `detail`, or what the operation put into `self.detail`, is what was asked beyond the URL. Raises Unavailable,
        Limit: then there is no answer.
        """
        if self.recorded_at is None:
            self.recorded_at = self.services.journal.record(self._access(detail, status))
        return self.recorded_at

    async def record_soon(self, detail: str) -> None:
        """As `record`, without a thread that waits."""
        if self.recorded_at is None:
            journal: Batched[Access, int] = self.request.app.state.journal
            self.recorded_at = await journal(self._access(detail, 200))

    def _access(self, detail: str, status: int) -> Access:
        url = self.request.url
        target = f"{url.path}?{url.query}" if url.query else url.path
        return Access(self.caller, self.operation, target, detail or self.detail, self.address, status)

    def told(self, error: HoldfastError) -> HoldfastError:
        """The failure to answer with: what an operation put into `self.done` has happened all the same."""
        if not self.done:
            return error
        why = f"the answer failed with {error.code}"
        return Unavailable(self.done, code=DONE, why=why, hint="look before you repeat it")

    def start_after(self, key: Key) -> None:
        """Begin the list behind `key`, unless a cursor says where it goes on."""
        if self.asked.after is None:
            self.asked = replace(self.asked, after=key)

    def lag(self) -> int:
        """How many events the index is behind the log, the record of this call included."""
        return max(0, (self.recorded_at or 0) - self.services.reads.position)

    def acted(self, value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
        """The outcome of an act, as JSON whatever the client accepts: it has happened. Records the call."""
        self.record(status=status)
        told = {**self.headers(), **(headers or {}), "Cache-Control": "no-store"}
        return Response(ENCODER.encode(value), status, told, media_type=MEDIA_TYPES[AnswerFormat.JSON])

    def one(
        self, value: Any, *, detail: str = "", position: int | None = None, headers: Mapping[str, str] | None = None
    ) -> Response:
        """One thing as JSON, with a strong ETag. The call is recorded before it leaves."""
        chosen_format(self.request.headers.get("accept"), (AnswerFormat.JSON,))
        reply = one_reply(value)
        return self._recorded(reply, detail, {**(headers or {}), **self._headers_at(position)})

    def page(self, page: Page[Any], row: type, *, detail: str = "") -> Response:
        """A page of a list, in the form that the client accepts. The call is recorded before it leaves."""
        answer = chosen_format(self.request.headers.get("accept"))
        following = None if page.next is None else self.cursors.make(self.question, page.position, page.next)
        reply = list_reply(self.request, answer, page, row, following)
        return self._recorded(reply, detail, self._headers_at(page.position))

    def _recorded(self, reply: Reply, detail: str, headers: Mapping[str, str]) -> Response:
        async def finish() -> Response:
            await self.record_soon(detail)
            lag = self.lag()
            return reply.response(self.request, lag, {**headers, "Catalog-Lag": str(lag)})

        return Deferred(finish)

    def bulk(self, schema: pa.Schema, batches: Iterator[pa.RecordBatch], *, tag: str) -> Response:
        """Rows as a stream in the form that the client accepts; `tag` names what they depend on beside the URL.

        Records the call. The batches are closed when the client has them all or goes. Raises Limit for more of these
        than a caller may have at once: a client may take what time it wants to read.
        """
        answer = chosen_format(self.request.headers.get("accept"))
        position = self.asked.as_of if self.asked.as_of is not None else self.services.reads.position
        give_back = self.request.app.state.downloads.take(self.caller.name)
        pieces = encode(answer, schema, batches)
        end = closing_all(pieces, batches)

        def close() -> None:
            end()
            give_back()

        try:
            self.record()
        except BaseException:
            close()
            raise
        url = f"{self.request.url.path}?{self.request.url.query}"
        headers = {
            "ETag": strong_tag(tag.encode(), url.encode(), answer.encode()),
            "Vary": VARY,
            "Cache-Control": CACHE,
            **self.headers(position),
        }
        if matches(self.request.headers.get("if-none-match"), headers["ETag"]):
            close()
            return Response(status_code=304, headers=headers)
        return Stream(pieces, media_type=MEDIA_TYPES[answer], headers=headers, close=close)

    def headers(self, position: int | None = None) -> dict[str, str]:
        """What the answer is of, and how far the index is behind."""
        return {**self._headers_at(position), "Catalog-Lag": str(self.lag())}

    def _headers_at(self, position: int | None) -> dict[str, str]:
        at = self.services.reads.position if position is None else position
        time = self.request.app.state.times.shown(at)
        return {"Catalog-Position": str(at), **({"Catalog-Time": time} if time else {})}


def needs(permission: Permission) -> Any:
    """A dependency that gives an `Ask` to callers whose role has `permission`."""
    return Depends(_asker(permission))


def needs_list(permission: Permission) -> Any:
    """As `needs`, for lists that are not answered from the index: adds `limit` and `cursor`."""
    asker = _asker(permission)

    async def ask_list(ask: Annotated[Ask, Depends(asker)], limit: LimitQuery = 100, cursor: CursorQuery = None) -> Ask:
        after = None if cursor is None else ask.cursors.read(cursor, ask.question)[1]
        ask.asked = replace(ask.asked, limit=limit, after=after)
        return ask

    return Depends(ask_list)


def needs_index(permission: Permission) -> Any:
    """As `needs`, for an answer at a position: adds `as_of` and `min_position`."""
    asker = _asker(permission)

    async def ask_index(
        ask: Annotated[Ask, Depends(asker)], as_of: AsOfQuery = None, min_position: MinPositionQuery = None
    ) -> Ask:
        await pin(ask, as_of, min_position)
        return ask

    return Depends(ask_index)


def needs_page(permission: Permission) -> Any:
    """As `needs_index`, for lists: adds `limit` and `cursor`."""
    asker = _asker(permission)

    async def ask_page(
        ask: Annotated[Ask, Depends(asker)],
        limit: LimitQuery = 100,
        cursor: CursorQuery = None,
        as_of: AsOfQuery = None,
        min_position: MinPositionQuery = None,
    ) -> Ask:
        ask.asked = replace(ask.asked, limit=limit)
        if cursor is None:
            await pin(ask, as_of, min_position)
        else:
            position, after = ask.cursors.read(cursor, ask.question)
            await wait_for(ask.services, position)
            ask.asked = replace(ask.asked, as_of=position, after=after)
        return ask

    return Depends(ask_page)


def operation_of(request: Request) -> str:
    """The operation id of the route that a request was matched to."""
    route = request.scope.get("route")
    return str(getattr(route, "name", "unknown"))


def address_of(request: Request) -> str:
    """The client's address."""
    return request.client.host if request.client else ""


def _asker(permission: Permission) -> Callable[[Request], Any]:
    async def ask(request: Request) -> Ask:
        services: ApiServices = request.app.state.services
        authorization = request.headers.get("authorization")
        caller = await request.app.state.callers(authorization, address_of(request))
        made = Ask(request, services, caller)
        request.state.ask = made
        caller.require(permission)
        _refuse_unknown(request)
        return made

    return ask


async def pin(ask: Ask, as_of: str | None, min_position: int | None) -> None:
    """Answer `ask` as of then; wait for the index where it has to. Raises Invalid, Unavailable."""
    if min_position is not None:
        await reached(ask.services, min_position)
    if as_of is not None:
        position = await settled_as_of(ask.services, parse_as_of(as_of))
        ask.asked = replace(ask.asked, as_of=position)


def _refuse_unknown(request: Request) -> None:
    if not request.url.query:
        return
    known: dict[str, bool] = request.app.state.parameters.get(operation_of(request), {})
    for name, times in Counter(name for name, _ in request.query_params.multi_items()).items():
        if name not in known:
            raise Invalid("there is no such parameter here", code="parameter-unknown", hint=_listed(known))
        if times > 1 and not known[name]:
            raise Invalid(f"the parameter {name} is given twice", code="parameter-repeated")


def _listed(known: dict[str, bool]) -> str:
    return "this operation knows: " + ", ".join(sorted(known)) if known else "this operation has no parameters"

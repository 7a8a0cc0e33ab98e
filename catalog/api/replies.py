"""Answers as bytes: JSON of one thing or of a page, other forms of lists, ETags and 304.

Imports `catalog.answers` and `catalog.queries`. What is encoded is sent as it is; nothing checks it a second time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from catalog.answers import MEDIA_TYPES, AnswerFormat, encode
from catalog.api.columns import batch_of, schema_of
from catalog.queries.asked import Page

VARY = "Accept, Authorization"
CACHE = "private, no-cache"
ENCODER = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer but for what follows from its record: `body` makes its bytes from the lag, once that is known."""

    body: Callable[[int], bytes]
    tag: str
    media_type: str
    headers: Mapping[str, str]

    def response(self, request: Request, lag: int, headers: Mapping[str, str]) -> Response:
        """The answer, or 304 when the client has it already."""
        common = {"ETag": self.tag, "Vary": VARY, "Cache-Control": CACHE, **self.headers, **headers}
        if matches(request.headers.get("if-none-match"), self.tag):
            return Response(status_code=304, headers=common)
        return Response(self.body(lag), 200, common, media_type=self.media_type)


class Deferred(Response):
    """An answer that is finished, by `finish`, when it is about to leave."""

    def __init__(self, finish: Callable[[], Awaitable[Response]]) -> None:
        super().__init__()
        self._finish = finish

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, or raise why it cannot be finished."""
        await (await self._finish())(scope, receive, send)


def one_reply(value: Any) -> Reply:
    """One thing as JSON; its ETag is the hash of exactly these bytes."""
    body = ENCODER.encode(value)
    return Reply(lambda _: body, strong_tag(body), MEDIA_TYPES[AnswerFormat.JSON], {})


def list_reply(request: Request, answer: AnswerFormat, page: Page[Any], row: type, following: str | None) -> Reply:
    """A page of a list. Its position and lag move with every call recorded, so that its JSON has a weak ETag."""
    links = {} if following is None else {"Link": f'<{_next_path(request, following)}>; rel="next"'}
    if answer is AnswerFormat.JSON:
        items = ENCODER.encode(page.rows)
        tag = "W/" + strong_tag(items + (b"+" if following else b"."))
        return Reply(lambda lag: _listed(items, following, page.position, lag), tag, MEDIA_TYPES[answer], links)
    batches = [batch_of(row, page.rows)]
    body = b"".join(encode(answer, schema_of(row), batches, truncated=lambda: following is not None))
    return Reply(lambda _: body, strong_tag(body), MEDIA_TYPES[answer], links)


def _listed(items: bytes, following: str | None, position: int, lag: int) -> bytes:
    tail = ENCODER.encode({"next": following, "position": position, "lag": lag})
    return b'{"items":' + items + b"," + tail[1:]


def strong_tag(*parts: bytes) -> str:
    """An entity tag of some bytes."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)
    return f'"{digest.hexdigest()[:32]}"'


def matches(header: str | None, tag: str) -> bool:
    """Whether an If-None-Match header names `tag`, weakly compared."""
    if header is None:
        return False
    named = {part.strip().removeprefix("W/") for part in header.split(",")}
    return "*" in named or tag.removeprefix("W/") in named


def same_thing(if_match: str, value: Any) -> bool:
    """Whether an If-Match header names the strong tag of `value`."""
    named = {part.strip() for part in if_match.split(",")}
    return "*" in named or strong_tag(ENCODER.encode(value)) in named


def _next_path(request: Request, following: str) -> str:
    url = request.url.include_query_params(cursor=following)
    return f"{url.path}?{url.query}"

"""Answers as bytes: JSON of one thing or of a page, other forms of lists, ETags and 304.

Imports `catalog.answers` and `catalog.queries`. What is encoded is sent as it is; nothing checks it a second time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from catalog.answers import MEDIA_TYPES, AnswerFormat, encode
from catalog.api.columns import batch_of, schema_of
from catalog.queries.asked import Page

VARY = "Accept, Authorization"
CACHE = "private, no-cache"
ENCODER = msgspec.json.Encoder()


def one_reply(request: Request, value: Any, headers: Mapping[str, str]) -> Response:
    """One thing as JSON; its ETag is the hash of exactly these bytes."""
    body = ENCODER.encode(value)
    return tagged(request, body, strong_tag(body), MEDIA_TYPES[AnswerFormat.JSON], headers)


def list_reply(
    request: Request,
    answer: AnswerFormat,
    page: Page[Any],
    row: type,
    following: str | None,
    lag: int,
    headers: Mapping[str, str],
) -> Response:
    """A page of a list. Its position and lag move with every call recorded, so that its JSON has a weak ETag."""
    links = {} if following is None else {"Link": f'<{_next_path(request, following)}>; rel="next"'}
    if answer is AnswerFormat.JSON:
        items = ENCODER.encode(page.rows)
        tail = {"next": following, "position": page.position, "lag": lag}
        body = b'{"items":' + items + b"," + ENCODER.encode(tail)[1:]
        tag = "W/" + strong_tag(items + (b"+" if following else b"."))
    else:
        batches = [batch_of(row, page.rows)]
        body = b"".join(encode(answer, schema_of(row), batches, truncated=lambda: following is not None))
        tag = strong_tag(body)
    return tagged(request, body, tag, MEDIA_TYPES[answer], {**headers, **links})


def tagged(request: Request, body: bytes, tag: str, media_type: str, headers: Mapping[str, str]) -> Response:
    """The answer, or 304 when the client has it already."""
    common = {"ETag": tag, "Vary": VARY, "Cache-Control": CACHE, **headers}
    if matches(request.headers.get("if-none-match"), tag):
        return Response(status_code=304, headers=common)
    return Response(body, 200, common, media_type=media_type)


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

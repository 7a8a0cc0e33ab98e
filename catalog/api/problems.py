"""Failures as RFC 9457 problem documents: the kind is the contract, and becomes the HTTP status here and only here.

Imports starlette, fastapi and `storage.errors`. Every failure takes this form, the framework's own included; no
traceback, input value or header is ever reflected.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from storage.errors import Denied, HoldfastError, Invalid, Limit, NotFound, Unavailable

PROBLEM_TYPE = "application/problem+json"
RETRY_AFTER_SECONDS = 2
MAX_ERRORS = 20
DONE = "done-unanswered"
"""The code of an act that has happened, though its answer failed: to repeat it blindly would be wrong."""

STATUSES: Mapping[str, int] = {
    "invalid": 400,
    "not_found": 404,
    "denied": 403,
    "conflict": 409,
    "unavailable": 503,
    "corrupt": 500,
    "limit": 413,
}
"""The status of each kind."""
STATUS_OF_CODE: Mapping[str, int] = {
    "access-queue": 429,
    "agent-runs": 429,
    "body-invalid": 422,
    "body-slow": 408,
    "etag-mismatch": 412,
    "host-unknown": 421,
    "internal": 500,
    "method-not-allowed": 405,
    "not-acceptable": 406,
    "requests-too-many": 429,
    "sql-busy": 429,
    "sql-time": 504,
    "streams-too-many": 429,
    "tasks-open": 429,
    "url-length": 414,
}
"""Codes with a more telling status than that of their kind."""
TITLES: Mapping[str, str] = {
    "invalid": "The request is wrong",
    "not_found": "There is no such thing",
    "denied": "Not allowed",
    "conflict": "Somebody else changed or holds it",
    "unavailable": "Not available now",
    "corrupt": "Stored data does not verify",
    "limit": "A limit was reached",
}
FAULT_TITLE = "The server failed"

logger = logging.getLogger(__name__)


class FieldError(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong with one part of a request: where it is (`query`, `path`, `body`, ...) and its JSON pointer."""

    where: str
    pointer: str
    message: str


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """An RFC 9457 problem; `kind` and `code` are the contract, `detail` and `hint` are for people."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    kind: str
    hint: str
    retryable: bool
    errors: tuple[FieldError, ...] = ()


def status_of(error: HoldfastError, *, known_caller: bool = True) -> int:
    """The HTTP status that `error` is answered with; whoever is not known yet is asked who it is."""
    if isinstance(error, Denied) and not known_caller:
        return 401
    return STATUS_OF_CODE.get(error.code, STATUSES[error.kind])


def problem_response(
    error: HoldfastError, instance: str, *, known_caller: bool = True, errors: Sequence[FieldError] = ()
) -> Response:
    """`error` as an answer to a request for the path `instance`."""
    status = status_of(error, known_caller=known_caller)
    retryable = (isinstance(error, Unavailable) or status in (408, 429)) and error.code != DONE
    body = Problem(
        type=f"urn:holdfast:problem:{error.code}",
        title=FAULT_TITLE if error.code == "internal" else TITLES[error.kind],
        status=status,
        detail=str(error),
        instance=instance,
        code=error.code,
        kind=error.kind,
        hint=error.hint,
        retryable=retryable,
        errors=tuple(errors),
    )
    headers = {"Cache-Control": "no-store"}
    if retryable:
        headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    if status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="holdfast"'
    return Response(msgspec.json.encode(body), status, headers, media_type=PROBLEM_TYPE)


def of_framework(error: HTTPException) -> HoldfastError:
    """What the framework itself refuses."""
    if error.status_code == 404:
        return NotFound("there is no such path", code="path-unknown", hint="GET /openapi.json lists them all")
    if error.status_code == 405:
        return Invalid("the path does not know this method", code="method-not-allowed")
    if error.status_code == 413:
        return Limit("the body is too large", code="body-size")
    return Invalid("the request cannot be read", code="request-unreadable")


def of_validation(error: RequestValidationError) -> tuple[HoldfastError, list[FieldError]]:
    """What does not fit the documented parameters or body; values are not repeated."""
    found = [_field_error(part) for part in error.errors()[:MAX_ERRORS]]
    in_body = any(part.where == "body" for part in found)
    what = "the body is not as documented" if in_body else "a parameter is not as documented"
    why = "; ".join(f"{part.where} {part.pointer}: {part.message}" for part in found[:3])
    return Invalid(what, code="body-invalid" if in_body else "parameter-invalid", why=why), found


def of_fault(error: Exception) -> HoldfastError:
    """A fault of ours: logged here, told without its text."""
    logger.error("a request failed", exc_info=error)
    return Fault("the request met an internal fault", code="internal", hint="the server's log says more")


class Fault(HoldfastError):
    """Nothing that the caller could change."""

    kind = "unavailable"


def _field_error(part: Mapping[str, Any]) -> FieldError:
    where, *path = part["loc"]
    pointer = "".join(f"/{str(step).replace('~', '~0').replace('/', '~1')[:100]}" for step in path)
    return FieldError(where=str(where), pointer=pointer, message=str(part["msg"])[:200])

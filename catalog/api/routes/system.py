"""Health, measurements, the document and the page: open to everybody who can connect. Imports `catalog.api`.

What is told here says nothing of machines, and is not recorded. Beyond loopback measurements need a credential.
"""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from catalog.access.caller import Permission
from catalog.api.deps import address_of
from catalog.api.document import MAYBE_OPEN, OPEN
from catalog.api.replies import matches
from catalog.api.schema import shows, shows_text
from catalog.api.services import ApiServices
from catalog.web.assets import PAGE_HEADERS, assets
from storage.errors import NotFound, Unavailable

router = APIRouter(default_response_class=Response)

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """The process answers."""

    status: str


class Readiness(msgspec.Struct, frozen=True, kw_only=True):
    """The index follows the log: it is at `position`, `lag` events behind."""

    status: str
    position: int
    lag: int


@router.get("/healthz", openapi_extra=OPEN, responses=shows(Health, "The process answers.", tagged=False))
async def get_health() -> Response:
    """Say that the process is alive."""
    return _plain(Health(status="ok"))


@router.get("/readyz", openapi_extra=OPEN, responses=shows(Readiness, "The index follows the log.", tagged=False))
def get_readiness(request: Request) -> Response:
    """Say whether answers are up to date; 503 while the index cannot be brought up to the log."""
    services: ApiServices = request.app.state.services
    trouble = services.follower.trouble
    if trouble is not None:
        raise Unavailable("the service is not up to date", code="not-ready", why=trouble.code)
    position = services.reads.position
    return _plain(Readiness(status="ok", position=position, lag=max(0, services.catalog.log.position() - position)))


@router.get("/metrics", openapi_extra=MAYBE_OPEN, responses=shows_text("Prometheus's text format."))
def get_metrics(request: Request) -> Response:
    """Show measurements to Prometheus; beyond loopback any token will do, unless the settings open them."""
    services: ApiServices = request.app.state.services
    if not (services.settings.loopback or services.settings.metrics_open):
        authorization = request.headers.get("authorization")
        services.identities.identify(authorization, address_of(request)).require(Permission.READ)
    return Response(request.app.state.metrics.shown(), headers={"Content-Type": METRICS_TYPE})


@router.get(
    "/openapi.json",
    openapi_extra=OPEN,
    responses={200: {"description": "This document.", "content": {"application/json": {"schema": {"type": "object"}}}}},
)
def get_document(request: Request) -> Response:
    """Show this document."""
    return _plain(request.app.state.document)


@router.get("/", include_in_schema=False)
@router.get("/assets/{name:path}", include_in_schema=False)
async def get_page(request: Request) -> Response:
    """The web page and its files."""
    asset = assets().get(request.url.path)
    if asset is None:
        raise NotFound("there is no such file", code="path-unknown")
    headers = {"ETag": asset.etag, **PAGE_HEADERS}
    if matches(request.headers.get("if-none-match"), asset.etag):
        return Response(status_code=304, headers=headers)
    return Response(asset.content, headers={"Content-Type": asset.media_type, **headers})


def _plain(value: Any) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json", headers={"Cache-Control": "no-store"})

"""The application: routes, failures as problems, the document. Imports `catalog.api`.

The framework's own pages of the document are off: they would load from another host.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp

from catalog.api.batching import Batched
from catalog.api.callers import Callers
from catalog.api.deps import Ask
from catalog.api.document import DESCRIPTION, PROBLEMS, VERSION, document_of, parameters_of
from catalog.api.edge import Edge
from catalog.api.gauges import add_gauges
from catalog.api.metrics import Metrics
from catalog.api.paging import Cursors
from catalog.api.pool import bound_threads, in_thread
from catalog.api.problems import FieldError, of_framework, of_validation, problem_response, status_of
from catalog.api.quota import Quota
from catalog.api.routes import ROUTERS
from catalog.api.services import ApiServices
from catalog.api.times import PositionTimes
from storage.errors import HoldfastError

Handler = Callable[[Request, Any], Awaitable[Response]]


def create_app(services: ApiServices) -> FastAPI:
    """The application over `services`, which stay their owner's."""
    app = bare_app()
    metrics = Metrics()
    app.state.services = services
    app.state.metrics = metrics
    app.state.callers = Callers(services.identities)
    app.state.journal = Batched(services.journal.record_all)
    app.state.times = PositionTimes(services.catalog.log)
    app.state.cursors = Cursors(services.service_key, services.clock, services.settings.limits.cursor_seconds)
    limits = services.settings.limits
    app.state.streams = Quota(limits.streams_each, limits.streams, code="streams-too-many", what="event streams")
    app.state.downloads = Quota(
        limits.downloads_each, limits.downloads, code="streams-too-many", what="streams of rows"
    )
    app.state.questions = Quota(limits.questions_each, limits.questions, code="sql-busy", what="SQL questions")
    app.state.stopping = False
    add_gauges(metrics, services)

    def edge(inner: ASGIApp) -> ASGIApp:
        return Edge(inner, services.settings, metrics)

    app.add_middleware(edge)
    return app


def bare_app() -> FastAPI:
    """The application without services: enough for its document."""
    app = FastAPI(
        title="Holdfast",
        version=VERSION,
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
        responses=PROBLEMS,
        lifespan=_lifespan,
    )
    for router in ROUTERS:
        app.include_router(router)
    app.add_exception_handler(HoldfastError, _failed)
    app.add_exception_handler(RequestValidationError, _not_valid)
    app.add_exception_handler(HTTPException, _framework)
    app.state.document = document_of(app)
    app.state.parameters = parameters_of(app.state.document)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    services: ApiServices = app.state.services
    limits = services.settings.limits
    bound_threads(answers=limits.answers, waiting=limits.threads)
    yield


async def _failed(request: Request, error: Exception) -> Response:
    if not isinstance(error, HoldfastError):
        raise TypeError from error
    return await _problem(request, error)


async def _not_valid(request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise TypeError from error
    failure, errors = of_validation(error)
    return await _problem(request, failure, errors)


async def _framework(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise TypeError from error
    response = await _problem(request, of_framework(error))
    if error.status_code == 405:
        response.headers["Allow"] = ", ".join(_allowed(request))
    return response


def _allowed(request: Request) -> list[str]:
    """The methods of the path that a request was matched to, whichever routes they belong to."""
    path = getattr(request.scope.get("route"), "path", "")
    methods = {method.upper() for method in request.app.state.document["paths"].get(path, {"get": {}})}
    return sorted(methods | {"HEAD"} if "GET" in methods else methods)


async def _problem(request: Request, error: HoldfastError, errors: list[FieldError] | None = None) -> Response:
    """Answer with a problem; what a known caller was refused is recorded as well."""
    ask: Ask | None = getattr(request.state, "ask", None)
    if ask is not None:
        error = ask.told(error)
        if ask.recorded_at is None:
            try:
                await in_thread(ask.record, "", status_of(error))
            except HoldfastError as failure:
                error, errors = ask.told(failure), None
    return problem_response(error, request.url.path, known_caller=ask is not None, errors=errors or ())

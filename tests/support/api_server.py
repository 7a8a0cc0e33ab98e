"""The real server on loopback, in a thread of the test's process, and a client for it. No simulator."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from fastapi import FastAPI

from catalog.api.app import create_app
from catalog.api.opening import api_services
from catalog.api.services import ApiServices
from catalog.api.settings import ServeSettings
from catalog.cli.serve import listening_socket, server_of
from catalog.home import Home
from tests.support.eventually import eventually

TIMEOUT = 30


@dataclass(frozen=True, slots=True)
class Got:
    """An answer; header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    def items(self) -> list[Any]:
        return list(self.json()["items"])


@dataclass(frozen=True, slots=True)
class ApiServer:
    """A running server."""

    services: ApiServices
    port: int
    app: FastAPI

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT)

    def ask(self, method: str, path: str, *, body: Any = None, token: str | None = None, **headers: str) -> Got:
        """Send a request; `headers` with underscores for dashes."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        data = body
        if body is not None and not isinstance(body, bytes):
            data = json.dumps(body).encode()
            sent.setdefault("Content-Type", "application/json")
        connection = self.connect()
        try:
            connection.request(method, path, data, sent)
            response = connection.getresponse()
            found = {name.lower(): value for name, value in response.getheaders()}
            return Got(response.status, found, response.read())
        finally:
            connection.close()

    def get(self, path: str, **options: Any) -> Got:
        return self.ask("GET", path, **options)

    def problem(self, status: int, code: str, method: str, path: str, **options: Any) -> Any:
        """A request that must fail so; returns the problem."""
        got = self.ask(method, path, **options)
        assert got.headers["content-type"] == "application/problem+json", got
        found = got.json()
        assert (got.status, found["status"], found["code"]) == (status, status, code), found
        assert found["type"] == f"urn:holdfast:problem:{code}"
        return found


@contextmanager
def served(home: Home, settings: ServeSettings | None = None, **parts: Any) -> Iterator[ApiServer]:
    """Serve a home; `parts` as `api_services` takes them, such as the clock."""
    with api_services(home, settings or ServeSettings(), **parts) as services, served_by(services) as server:
        yield server


@contextmanager
def served_by(services: ApiServices) -> Iterator[ApiServer]:
    """Serve what is open already."""
    with listening_socket("127.0.0.1", 0) as listening:
        app = create_app(services)
        server = server_of(app, services.settings)
        thread = threading.Thread(target=server.run, args=([listening],), name=f"server {uuid4()}")
        thread.start()
        try:
            eventually(lambda: server.started, "the server")
            yield ApiServer(services, listening.getsockname()[1], app)
        finally:
            app.state.stopping = True
            server.should_exit = True
            thread.join(TIMEOUT)
            assert not thread.is_alive()

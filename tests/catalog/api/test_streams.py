"""Answers that stream: SQL, block maps and events, and clients that go before the end."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from catalog.access.caller import Role
from catalog.access.identity import local_caller
from catalog.api.quota import Quota
from catalog.api.settings import Limits, ServeSettings
from catalog.domain.events import MachineSeen
from catalog.log import EventLog
from tests.support.api_home import ApiHome
from tests.support.api_server import ApiServer, served
from tests.support.eventually import eventually

SILENT = "SELECT count(*) FROM range(100000) a, range(10000000) b WHERE hash(a.range + b.range) = 1"
ENDLESS = "SELECT a.i, repeat('x', 1000) AS text FROM range(100000000) a(i)"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> ApiHome:
    """A home that no test changes but by asking."""
    return ApiHome.made(tmp_path_factory.mktemp("streams"))


@pytest.fixture(scope="module")
def server(home: ApiHome) -> Iterator[ApiServer]:
    """Its server, with the SQL door."""
    limits = Limits(follow_seconds=0.05, streams_each=2)
    with served(home.home, ServeSettings(limits=limits)) as running:
        yield running


def open_request(server: ApiServer, head: str, body: bytes = b"") -> socket.socket:
    """Send a request and read the first bytes of its answer."""
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=30)
    length = f"Content-Length: {len(body)}\r\nContent-Type: application/json\r\n" if body else ""
    connection.sendall(f"{head} HTTP/1.1\r\nHost: 127.0.0.1\r\n{length}\r\n".encode() + body)
    assert connection.recv(12) == b"HTTP/1.1 200"
    return connection


def test_a_client_that_goes_frees_the_door(server: ApiServer) -> None:
    """When a client goes in the middle of an answer, its SQL worker ends and others are answered."""
    body = json.dumps({"query": ENDLESS, "row_limit": 10_000_000, "seconds": 300}).encode()
    door = server.services.door
    assert door is not None
    connections = [open_request(server, "POST /v1/sql", body) for _ in range(2)]
    assert len(door._answering) == 2
    server.problem(429, "sql-busy", "POST", "/v1/sql", body={"query": "SELECT 1"})
    for connection in connections:
        connection.close()
    eventually(lambda: not door._answering, "the workers' end")
    eventually(lambda: server.ask("POST", "/v1/sql", body={"query": "SELECT 1"}).status == 200, "the next question")


def test_a_client_that_does_not_wait_frees_the_door(server: ApiServer) -> None:
    """When a client goes before its answer has begun, its SQL worker ends all the same."""
    body = json.dumps({"query": SILENT, "seconds": 300}).encode()
    door = server.services.door
    assert door is not None
    head = f"POST /v1/sql HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(f"{head}\r\n\r\n".encode() + body)
        eventually(lambda: any(answer.columns for answer in door._answering), "the statement's start")
    eventually(lambda: not door._answering, "the worker's end")


def test_sql_of_the_past_keeps_to_the_scope_of_today(tmp_path: Path) -> None:
    """A machine that was renamed out of a scope is in no SQL of its callers, as of when it was in it neither."""
    made = ApiHome.made(tmp_path)
    with served(made.home) as server:
        _, secret = server.services.tokens.create("scoped", Role.ANALYST, ["lab/db-*"], None, "test")
        with closing(EventLog.open(made.home.event_file)) as log:
            seen = [one for one in log.stream(made.machines[1]) if isinstance(one, MachineSeen)][-1]
            position = log.position()
            version = log.version(seen.originator_id) + 1
            moved = log.save(msgspec.structs.replace(seen, originator_version=version, name="vault-1"))
        assert server.get(f"/v1/machines?min_position={moved}", token=secret).items() == []
        for rows in ("events", "rows_of_events", "rows_of_machines"):
            body = {"query": f"SELECT count(*) AS n FROM {rows}", "as_of": position}  # noqa: S608 - our own names
            assert server.ask("POST", "/v1/sql", body=body, token=secret).json()["rows"] == [{"n": 0}], rows


def test_sql_answers_say_how_they_ended(server: ApiServer) -> None:
    """A short answer tells its rows and whether it was cut; a statement that fails is a problem."""
    got = server.ask("POST", "/v1/sql", body={"query": "SELECT * FROM range(10)", "row_limit": 3})
    assert (got.headers["catalog-rows"], got.headers["catalog-truncated"]) == ("3", "true")
    assert got.json()["row_count"] == 3
    server.problem(400, "sql-syntax", "POST", "/v1/sql", body={"query": "SELEC"})
    csv = server.ask("POST", "/v1/sql", body={"query": "SELECT 1 AS a"}, Accept="text/csv")
    assert csv.body == b"a\r\n1\r\n"
    assert server.ask("POST", "/v1/sql", body={"query": "SELECT count(*) AS n FROM machines", "as_of": 4}).json()[
        "rows"
    ] == [{"n": 2}]


def test_sql_shows_the_rows_of_the_scope(tmp_path: Path) -> None:
    """A caller with a scope gets the rows of its machines from SQL, and no others."""
    with served(ApiHome.made(tmp_path).home) as server:
        _, secret = server.services.tokens.create("scoped", Role.ANALYST, ["lab/db-*"], None, "test")
        got = server.ask("POST", "/v1/sql", body={"query": "SELECT name FROM machines"}, token=secret)
        assert got.json()["rows"] == [{"name": "db-1"}]


def test_block_maps_stream(server: ApiServer, home: ApiHome) -> None:
    """A block map comes in the asked form, and is not sent to whoever has it."""
    path = f"/v1/restore-points/latest:web-1/disks/{home.disk}/blocks"
    got = server.get(path)
    assert got.json()["row_count"] == len(got.json()["rows"])
    assert server.get(path, If_None_Match=got.headers["etag"]).status == 304
    head = server.ask("HEAD", path)
    assert (head.status, head.body) == (200, b"")


def test_block_maps_at_once_are_bounded(server: ApiServer, home: ApiHome) -> None:
    """Clients that do not read their block maps hold no more than their share; whatever ends one frees its place."""
    path = f"/v1/restore-points/latest:web-1/disks/{home.disk}/blocks"
    downloads: Quota = server.app.state.downloads
    eventually(lambda: not downloads._taken, "the end of what other tests left")
    held = [downloads.take(local_caller().name) for _ in range(server.services.settings.limits.downloads_each)]
    server.problem(429, "streams-too-many", "GET", path)
    held.pop()()
    tag = ""
    for _ in range(3):
        got = server.get(path, If_None_Match=tag)
        tag = got.headers["etag"]
        assert got.status in (200, 304)
    assert server.get(path, If_None_Match=tag).status == 304
    server.problem(406, "not-acceptable", "GET", path, Accept="image/png")
    assert server.get(path).status == 200
    for give_back in held:
        give_back()


def test_events_stream_as_they_come(server: ApiServer) -> None:
    """Events are told as they are recorded, from where the client left off; streams are bounded and end with it."""
    connection = server.connect()
    connection.request("GET", "/v1/events/stream?after=27", headers={"Last-Event-ID": "2"})
    stream = connection.getresponse()
    lines = [stream.readline().decode().rstrip("\n") for _ in range(4)]
    assert lines[0] == "id: 3"
    assert lines[1] == "event: MachineSeen"
    assert json.loads(lines[2].removeprefix("data: "))["body"]["name"] == "web-1"
    second = open_request(server, "GET /v1/events/stream")
    server.problem(429, "streams-too-many", "GET", "/v1/events/stream")
    stream.close()
    connection.close()
    second.close()
    assert eventually(lambda: _opened(server), "a free stream")


def _opened(server: ApiServer) -> bool:
    connection = server.connect()
    try:
        connection.request("GET", "/v1/events/stream")
        with connection.getresponse() as answer:
            return answer.status == 200
    finally:
        connection.close()


def test_a_revoked_token_ends_its_stream(tmp_path: Path) -> None:
    """A stream ends, and says why, when the credential that opened it is good no more."""
    with served(ApiHome.made(tmp_path).home, with_door=False) as server:
        tokens = server.services.tokens
        token_id, secret = tokens.create("short", Role.AUDITOR, None, None, "test")
        connection = server.connect()
        connection.request("GET", "/v1/events/stream?after=1", headers={"Authorization": f"Bearer {secret}"})
        stream = connection.getresponse()
        assert stream.readline().startswith(b"id: ")
        tokens.revoke(token_id, "test")
        rest = stream.read()
        stream.close()
        connection.close()
        assert b"event: error\n" in rest
        assert b"token-revoked" in rest

"""Heads of requests end, whoever sends them: in bytes, in headers and in time."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import closing

import pytest

from catalog.api import heads
from catalog.api.heads import HEAD_BYTES, HEADERS
from tests.support.api_home import ApiHome
from tests.support.api_server import ApiServer, served


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """A server that others' requests do not reach."""
    with served(ApiHome.made(tmp_path_factory.mktemp("heads")).home, with_door=False) as found:
        yield found


def connected(server: ApiServer) -> closing[socket.socket]:
    """A connection on which nothing was sent."""
    return closing(socket.create_connection(("127.0.0.1", server.port), timeout=30))


def heard(connection: socket.socket) -> bytes:
    """All that the server says until it closes."""
    said = b""
    try:
        while piece := connection.recv(65536):
            said += piece
    except ConnectionResetError:
        pass
    return said


def assert_refused(said: bytes) -> None:
    """It was told as a problem."""
    head, _, body = said.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"content-type: application/problem+json" in head.lower()
    assert json.loads(body)["code"] == "request-malformed"


def test_a_head_has_a_size(server: ApiServer) -> None:
    """A head that does not end is cut off at its bound, and not kept."""
    with connected(server) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ".ljust(HEAD_BYTES + 1, b"x"))
        assert_refused(heard(connection))


def test_a_head_has_so_many_headers(server: ApiServer) -> None:
    """More headers than any client sends are refused."""
    with connected(server) as connection:
        many = b"".join(b"X-%d: x\r\n" % number for number in range(HEADERS + 1))
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n" + many + b"\r\n")
        assert_refused(heard(connection))


def test_what_is_no_http_is_told_as_a_problem(server: ApiServer) -> None:
    """Noise is answered in the same form as everything else."""
    with connected(server) as connection:
        connection.sendall(b"\x16\x03\x01\x02\x00 hello\r\n\r\n")
        assert_refused(heard(connection))


def test_a_head_has_its_time(server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who connects and does not send a head is let go, at once or in the middle of it."""
    monkeypatch.setattr(heads, "HEAD_SECONDS", 0.2)
    for begun in (b"", b"GET /healthz HTTP/1.1\r\nHost:"):
        with connected(server) as connection:
            connection.sendall(begun)
            assert heard(connection) == b""


def test_a_connection_is_used_again_and_again(server: ApiServer) -> None:
    """The bounds are of one head each, not of a connection."""
    connection = server.connect()
    with closing(connection):
        for _ in range(20):
            connection.request("GET", "/healthz", headers={"X": "x" * (HEAD_BYTES // 4)})
            assert connection.getresponse().read()

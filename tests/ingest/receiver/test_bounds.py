"""Clients that nobody knows: connections, heads and bodies have bounds, and those who send are served all the same."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from random import Random
from typing import Any
from uuid import uuid4

import pytest

from ingest.agent import protocol as said
from ingest.agent.protocol import PREFIX
from ingest.receiver.gate import origin
from ingest.receiver.run import AgentRun
from tests.support.agent_lab import AgentLab, Receiving
from tests.support.agent_peer import disk
from tests.support.eventually import eventually
from tests.support.lab import MIB

CONTENT = Random(1).randbytes(MIB)
MOST = 64 * MIB
"""More than the system holds of what nobody reads."""
HEAD = f"GET {PREFIX} HTTP/1.1\r\nHost: localhost\r\n".encode()
BODY_HEAD = f"PUT {PREFIX}/runs/{uuid4()}/frames/1 HTTP/1.1\r\nHost: localhost\r\n".encode()


@contextmanager
def plain(door: Receiving) -> Iterator[socket.socket]:
    """A connection before its handshake."""
    with socket.create_connection(("127.0.0.1", door.port), timeout=30) as connection:
        yield connection


@contextmanager
def secure(door: Receiving) -> Iterator[ssl.SSLSocket]:
    """A connection behind its handshake."""
    context = ssl.create_default_context(cafile=str(door.lab.authority.ca_file))
    with plain(door) as connection, context.wrap_socket(connection, server_hostname="localhost") as wrapped:
        yield wrapped


def ended(connection: socket.socket) -> bytes:
    """What the other side says until it closes; fails when it does not."""
    heard = b""
    try:
        while piece := connection.recv(65536):
            heard += piece
    except (ConnectionError, ssl.SSLError):
        return heard
    return heard


def send_until_closed(connection: socket.socket, piece: bytes, most: int) -> int:
    """How many bytes were taken until the other side closed, at most `most`."""
    taken = 0
    try:
        while taken < most:
            connection.sendall(piece)
            taken += len(piece)
    except (ConnectionError, ssl.SSLError):
        return taken
    return taken


def works(agents: AgentLab, door: Receiving) -> None:
    """Somebody who sends is served."""
    peer = door.peer(agents.secret(f"w{uuid4().hex[:8]}", "agent/*"))
    assert peer.open("web", disk(MIB)).status == 200
    assert isinstance(peer.play(CONTENT), said.PointMade)


@pytest.mark.parametrize("sent", [b"", HEAD, HEAD + b"X: "], ids=["nothing", "lines", "half a line"])
def test_a_head_that_does_not_come_is_given_up(agents: AgentLab, sent: bytes) -> None:
    """A connection that sends no request, or half of its head, is closed in time."""
    with agents.receiving_here(head=0.3) as door, secure(door) as connection:
        connection.sendall(sent)
        assert ended(connection) == b""
        works(agents, door)


def test_a_trickling_head_is_given_up(agents: AgentLab) -> None:
    """Bytes that come one by one do not put the end off."""
    with agents.receiving_here(head=0.5) as door, secure(door) as connection:
        connection.sendall(HEAD + b"X: ")
        connection.settimeout(0.05)
        closed = False
        while not closed:
            try:
                connection.sendall(b"x")
                closed = connection.recv(1) == b""
            except TimeoutError:
                continue
            except (ConnectionError, ssl.SSLError):
                closed = True


def test_a_handshake_that_does_not_come_is_given_up(agents: AgentLab) -> None:
    """A connection that never begins TLS is closed in time."""
    with agents.receiving_here(handshake=0.3) as door, plain(door) as connection:
        assert ended(connection) == b""


@pytest.mark.parametrize(
    ("begin", "piece"),
    [
        (HEAD + b"X: ", b"x" * 8192),
        (b"GET /", b"x" * 8192),
        (HEAD, b"a:\r\n" * 8),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"a:\r\n" * 8),
    ],
    ids=["header", "path", "headers", "trailers"],
)
def test_an_endless_head_is_cut_off(agents: AgentLab, door: Receiving, begin: bytes, piece: bytes) -> None:
    """A head, or what comes behind a body, is not held however long it is."""
    with secure(door) as connection:
        connection.sendall(begin)
        assert send_until_closed(connection, piece * (65536 // len(piece)), MOST) < MOST
    works(agents, door)


def test_an_endless_body_of_a_stranger_is_cut_off(agents: AgentLab, door: Receiving) -> None:
    """A stranger is refused before the body, and what follows is thrown away up to a bound, then cut off."""
    with secure(door) as connection:
        connection.sendall(BODY_HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 401 ")
        piece = b"10000\r\n" + bytes(0x10000) + b"\r\n"
        assert send_until_closed(connection, piece, MOST) < MOST
    works(agents, door)


def test_a_slow_body_of_a_stranger_is_cut_off(agents: AgentLab) -> None:
    """A stranger's body that stops in the middle holds the connection no longer than a moment, nor does silence."""
    with agents.receiving_here(linger=0.3) as door:
        for rest in (b"Content-Length: 1000\r\n\r\nslow", b"Content-Length: 0\r\n\r\n"):
            with secure(door) as connection:
                connection.sendall(BODY_HEAD + rest)
                assert ended(connection).startswith(b"HTTP/1.1 401 ")


def test_requests_wait_for_their_turn(agents: AgentLab, door: Receiving) -> None:
    """Requests that do not wait for an answer end the connection: nothing of them piles up."""
    secret = agents.secret("web")
    peer = door.peer(secret)
    peer.open("web", disk(MIB))
    while not isinstance(peer.work().questions[0], said.AskExtents):
        pass
    poll = (
        f"GET {PREFIX}/runs/{peer.run_id}/work?after=999 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {secret}\r\n\r\n"
    )
    with secure(door) as connection:
        connection.sendall(poll.encode() * 3)
        assert b"HTTP/1.1 200 " not in ended(connection)


def test_connections_from_one_address_are_bounded(agents: AgentLab) -> None:
    """Beyond the bound a connection is closed before TLS; when others end there is room again."""
    with agents.receiving_here(connections_each=3, handshake=60, head=60) as door:
        with ExitStack() as stack:
            for _ in range(2):
                stack.enter_context(plain(door))
            held = stack.enter_context(secure(door))
            with plain(door) as more:
                assert ended(more) == b""
            held.sendall(HEAD + b"\r\n")
            assert held.recv(65536).startswith(b"HTTP/1.1 401 ")

        def served() -> bool:
            try:
                return door.peer(None).ask("GET", "").status == 401
            except OSError:
                return False

        eventually(served, "room")


def test_connections_are_bounded_in_all(agents: AgentLab) -> None:
    """The bound on all connections holds whatever one address may have."""
    with agents.receiving_here(connections=1, connections_each=5) as door, secure(door), plain(door) as more:
        assert ended(more) == b""


def test_requests_of_a_token_are_bounded(agents: AgentLab) -> None:
    """One token's requests leave room for another's, however many it has under way."""
    with agents.receiving_here(requests_each=2, poll=30.0) as door, ExitStack() as stack:
        secret = agents.secret("many")
        head = BODY_HEAD + f"Authorization: Bearer {secret}\r\nContent-Length: 9\r\n\r\n".encode()
        for _ in range(2):
            stack.enter_context(secure(door)).sendall(head)

        def refused() -> bool:
            return door.peer(secret).ask("GET", "").status == 429

        eventually(refused, "the bound")
        works(agents, door)


@pytest.mark.parametrize(
    ("address", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::2%eth0"),
    ],
)
def test_what_counts_as_one_address(address: str, same: str) -> None:
    """A host has a /64 of IPv6 to choose from, and one address of IPv4."""
    assert origin(address) == origin(same)
    assert origin("2001:db8::1") != origin("2001:db8:0:1::1")
    assert origin("192.0.2.1") != origin("192.0.2.2")
    assert origin("::ffff:192.0.2.1") != origin("::ffff:192.0.2.2")


def test_a_machine_that_is_taken_over_holds_up_no_other(
    agents: AgentLab, door: Receiving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the run of a dead agent takes its time to end, agents of other machines open theirs."""
    secret = agents.secret("many", "agent/*")
    request = uuid4()
    door.peer(secret).open("web", disk(MIB), request_id=request)
    ending, may_end = threading.Event(), threading.Event()
    real = AgentRun.end

    def slow(run: AgentRun, why: Any) -> bool:
        ending.set()
        assert may_end.wait(120)
        return real(run, why)

    monkeypatch.setattr(AgentRun, "end", slow)
    successor = door.peer(secret)
    taking_over = threading.Thread(target=successor.open, args=["web", disk(MIB)], kwargs={"replaces": (request,)})
    taking_over.start()
    try:
        assert ending.wait(60)
        other = door.peer(agents.secret("other"))
        assert other.open("other", disk(MIB)).status == 200
        assert isinstance(other.play(CONTENT), said.PointMade)
    finally:
        may_end.set()
        taking_over.join(60)
    assert isinstance(successor.play(CONTENT), said.PointMade)

"""Messages are received whole, or the connection is over: never from the middle of one."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from smbprotocol.exceptions import SMBConnectionClosed

from adapters.hyperv.smb.wire import _Wire


@contextmanager
def connected(taken: bytes = b"") -> Iterator[tuple[_Wire, socket.socket]]:
    """A wire, and the server's end of it; messages that are `taken` go no further."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        wire = _Wire("127.0.0.1", listening.getsockname()[1], 1, lambda message: message == taken)
        wire.connect()
        server, _ = listening.accept()
    with server:
        try:
            yield wire, server
        finally:
            wire.close()


def framed(message: bytes) -> bytes:
    """A message with its length before it."""
    return len(message).to_bytes(4, "big") + message


def test_messages_come_one_by_one_without_those_taken() -> None:
    """Several messages in one segment are separate; what was taken is not passed on; the end is nothing."""
    with connected(taken=b"second") as (wire, server):
        server.sendall(framed(b"first") + framed(b"second") + framed(b"third"))
        assert wire.recv(30) == b"first"
        assert wire.recv(30) == b"third"
        server.close()
        assert wire.recv(30) == b""
        assert not wire.connected


@pytest.mark.parametrize("begun", [b"\x00\x00", framed(b"whole")[:-1]], ids=["length", "message"])
def test_a_message_that_stalls_ends_the_connection(begun: bytes) -> None:
    """A message that has begun and does not go on is no idle connection: nothing is read from its middle."""
    with connected() as (wire, server):
        server.sendall(begun)
        with pytest.raises(SMBConnectionClosed):
            wire.recv(30)


@pytest.mark.parametrize("begun", [b"\x00", framed(b"whole")[:-1]], ids=["length", "message"])
def test_a_message_that_is_cut_is_the_end(begun: bytes) -> None:
    """What was received of a message when the connection ended is dropped."""
    with connected() as (wire, server):
        server.sendall(begun)
        server.close()
        assert wire.recv(30) == b""


def test_an_idle_connection_is_no_failure() -> None:
    """Where nothing has begun, the library is told so, and asks the server whether it is there."""
    with connected() as (wire, _), pytest.raises(TimeoutError):
        wire.recv(1)


def test_what_is_no_smb_ends_the_connection() -> None:
    """A stream that is no SMB, such as HTTP, is not waited for as a message of a gigabyte."""
    with connected() as (wire, server):
        server.sendall(b"HTTP/1.1 400 Bad Request\r\n")
        with pytest.raises(SMBConnectionClosed):
            wire.recv(30)

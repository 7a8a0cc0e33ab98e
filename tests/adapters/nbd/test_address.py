"""Addresses are read as people write them, and nothing else is."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.errors import SourceInvalid
from adapters.nbd import TcpAddress, UnixAddress, parse_address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("unix:/run/x.sock", UnixAddress(Path("/run/x.sock"))),
        ("unix:relative", UnixAddress(Path("relative"))),
        ("disks.test", TcpAddress("disks.test", 10809)),
        ("disks.test:99", TcpAddress("disks.test", 99)),
        ("[::1]", TcpAddress("::1", 10809)),
        ("[::1]:99", TcpAddress("::1", 99)),
    ],
)
def test_addresses(text: str, address: UnixAddress | TcpAddress) -> None:
    """Sockets, hosts with and without port, and IPv6 in brackets."""
    assert parse_address(text) == address
    assert parse_address(str(address)) == address


@pytest.mark.parametrize("text", ["", ":1", "host:", "host:0", "host:65536", "host:-1", "host:x", "unix:" + "x" * 108])
def test_no_addresses(text: str) -> None:
    """Nonsense raises SourceInvalid."""
    with pytest.raises(SourceInvalid):
        parse_address(text)


@given(st.text(max_size=120))
def test_any_text_is_an_address_or_refused(text: str) -> None:
    """No text makes parsing fail otherwise than by SourceInvalid."""
    with contextlib.suppress(SourceInvalid):
        assert parse_address(text)
